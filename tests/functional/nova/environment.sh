#!/bin/bash
# Makes the Python environment of Nova's functional tests, once, and prints
# where it is.
set -euo pipefail
# shellcheck source=tools/setup.sh
. "$(dirname -- "$0")/../../../tools/setup.sh"

make_venv tests/functional/nova/requirements.txt >&2
# nova.tests looks for api-paste.ini and others there.
for packages in "$VENV"/lib/python3.*/site-packages; do
    ln -sfn ../../../etc "$packages/etc"
done
printf '%s\n' "$VENV"
