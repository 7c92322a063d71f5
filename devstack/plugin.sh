# shellcheck shell=bash
# DevStack plugin: installs the package on a compute host, writes its
# configuration, makes the ledger's schema and publishes the host's units.
#
# DevStack sources this with the mode and the phase it is in.
# Source: docs.openstack.org, devstack/latest/plugins.html

gpu_passthrough_configure() {
    local alias
    sudo install -d -m 0750 "${GPU_PASSTHROUGH_CONF%/*}"
    {
        printf '[DEFAULT]\nhost = %s\n\n' "$(hostname)"
        printf '[discovery]\nselect = %s\n\n' "$GPU_PASSTHROUGH_SELECT"
        printf '[pci]\n'
        while read -r alias; do
            [ -z "$alias" ] || printf 'alias = %s\n' "$alias"
        done <<<"$GPU_PASSTHROUGH_ALIASES"
    } | sudo install -m 0640 /dev/stdin "$GPU_PASSTHROUGH_CONF"
}

if is_service_enabled gpu-passthrough; then
    case "$1 ${2-}" in
    "stack install")
        setup_develop "$GPU_PASSTHROUGH_DIR"
        ;;
    "stack post-config")
        gpu_passthrough_configure
        # Each host keeps a ledger of its own, in SQLite.
        sudo "$(command -v gpu-passthrough)" db sync
        ;;
    "stack extra")
        sudo "$(command -v gpu-passthrough)" inventory sync
        ;;
    "clean ")
        sudo rm -f "$GPU_PASSTHROUGH_CONF"
        sudo rmdir --ignore-fail-on-non-empty "${GPU_PASSTHROUGH_CONF%/*}"
        ;;
    esac
fi
