#!/bin/bash
# Gives this control plane what compute nodes have published since it was
# stacked: aliases, filters, Placement's limits and flavors.
#
# Like DevStack's tools/discover_hosts.sh it is run when nodes were added,
# on the control plane, by the user who ran stack.sh.

if [[ $# -ne 1 || ! -r "$1/functions" ]]; then
    echo "usage: $0 FOLDER-OF-DEVSTACK" >&2
    exit 2
fi
TOP_DIR=$(cd "$1" && pwd)

# In the order of DevStack's own unstack.sh, which minds no error either.
# shellcheck source=/dev/null
source "$TOP_DIR/functions"
# shellcheck source=/dev/null
source "$TOP_DIR/lib/database"
# shellcheck source=/dev/null
source "$TOP_DIR/openrc" admin admin
for library in apache tls nova placement; do
    # shellcheck source=/dev/null
    source "$TOP_DIR/lib/$library"
done
load_plugin_settings
# Without a phase it does nothing but bring its functions.
# shellcheck source=devstack/plugin.sh
source "$GPU_PASSTHROUGH_DIR/devstack/plugin.sh" ""

set -o errexit
configure_gpu_passthrough_nova
restart_service "devstack@n-*"
if is_service_enabled placement-api; then
    restart_service devstack@placement-api
fi
create_gpu_passthrough_flavors
