#!/bin/bash
# run.sh COMMAND…: runs it in the tests' own Python environment, made if need be.
#
# So that pre-commit's hooks, and whoever types a command, use the versions that
# ./run-tests.sh uses: tools/run.sh mypy, tools/run.sh pre-commit install.
set -euo pipefail
# shellcheck source=tools/setup.sh
. "$(dirname -- "$0")/setup.sh"

# Says nothing else than the command does, unless there is something to install.
make_test_venv all >&2
export PATH=$VENV/bin:$PATH VIRTUAL_ENV=$VENV
exec "$@"
