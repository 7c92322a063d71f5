#!/bin/bash
# Makes a Python environment with Nova, once, and prints where it is.
#
# usage: environment.sh [REQUIREMENTS]; without it for Nova's functional tests.
set -euo pipefail
# shellcheck source=tools/setup.sh
. "$(dirname -- "$0")/../../../tools/setup.sh"

make_venv "${1:-tests/functional/nova/requirements.txt}" >&2
# nova.tests looks for api-paste.ini and others there.
for packages in "$VENV"/lib/python3.*/site-packages; do
    ln -sfn ../../../etc "$packages/etc"
done
printf '%s\n' "$VENV"
