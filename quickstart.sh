#!/bin/bash
# Installs what is missing and tells the whole story: from a bare host to a
# guest that holds a whole IOMMU group, and back.
set -euo pipefail
# shellcheck source=tools/setup.sh
. "$(dirname -- "$0")/tools/setup.sh"

usage() {
    cat <<'END'
usage: ./quickstart.sh [--lab]

Without arguments: the story on a bundled recording of a real host, with
libvirt's own test driver; nothing on this machine changes but the packages
it installs.
--lab: the same on an emulated host with a real kernel, IOMMU and libvirt;
the first time takes minutes.
END
}

cd "$ROOT"
case ${1-} in
"")
    install_packages
    make_locked_venv
    say "ready; here is the story"
    "$VENV/bin/gpu-passthrough" demo
    say "done; the command is $VENV/bin/gpu-passthrough"
    ;;
--lab)
    install_packages lab
    make_test_venv all
    say "ready; here is the story on an emulated host"
    "$VENV/bin/python" -m tests.functional.lab.story
    say "done; the command is $VENV/bin/gpu-passthrough"
    ;;
-h | --help)
    usage
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
