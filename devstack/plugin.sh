#!/bin/bash
# DevStack plugin: whole IOMMU groups for the instances of this cloud.
#
# DevStack sources this with the mode and the phase it is in.
# Source: docs.openstack.org, devstack/latest/plugins.html

# shellcheck source=devstack/lib/package
source "$GPU_PASSTHROUGH_DIR/devstack/lib/package"
# shellcheck source=devstack/lib/host
source "$GPU_PASSTHROUGH_DIR/devstack/lib/host"
# shellcheck source=devstack/lib/nova
source "$GPU_PASSTHROUGH_DIR/devstack/lib/nova"

if is_service_enabled gpu-passthrough; then
    case "$1 ${2-}" in
        "stack pre-install")
            # First of all, as the host may have to be rebooted.
            check_gpu_passthrough_settings
            echo_summary "Installing gpu-passthrough"
            install_gpu_passthrough
            configure_gpu_passthrough
            if is_gpu_passthrough_compute; then
                prepare_gpu_passthrough_host
            fi
            ;;
        "stack post-config")
            echo_summary "Configuring Nova for whole IOMMU groups"
            init_gpu_passthrough
            configure_gpu_passthrough_nova
            ;;
        "stack extra")
            create_gpu_passthrough_flavors
            ;;
        "stack test-config")
            # All of local.conf is in Nova's files by now.
            check_gpu_passthrough_nova
            ;;
        "unstack ")
            unconfigure_gpu_passthrough_nova
            ;;
        "clean ")
            unconfigure_gpu_passthrough_nova
            cleanup_gpu_passthrough
            ;;
    esac
fi
