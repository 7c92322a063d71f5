#!/bin/bash
# Installs what the tests need and runs every one of them, the lab included.
set -euo pipefail
# shellcheck source=tools/setup.sh
. "$(dirname -- "$0")/tools/setup.sh"
# shellcheck source=tools/steps.sh
. "$ROOT/tools/steps.sh"

usage() {
    cat <<'END'
usage: ./run-tests.sh [--all | --quick] [PYTEST ARGUMENT…]

Without arguments: linters, documentation, every test but those on the
emulated host that take longest: of these, and of campaigns that kill a command
at every act, it runs the part that the commit draws; the head of the output
says how to run the same again.
--all: really every test, and whole campaigns; this takes hours.
--quick: no emulated host (marker "lab").
Arguments alone: only pytest with these, such as tests/unit/conf -k alias; what
unit, property and architecture tests need is installed from PyPI alone.
END
}

shell_scripts() {
    {
        git ls-files '*.sh' .ci/run devstack/plugin.sh devstack/settings
        # Scripts within Python's text are looked at by their own tests.
        git grep -lE '^#! ?/(usr/)?bin/(env )?(ba|da)?sh' -- ':!*.py'
    } | sort -u
}

check_shell() {
    local scripts
    mapfile -t scripts < <(shell_scripts)
    shellcheck -x "${scripts[@]}"
}

# What DevStack sources is held to its own style.
check_devstack() {
    local scripts
    mapfile -t scripts < <(
        git ls-files devstack tests/functional/devstack/functions.sh ':!*.rst'
    )
    bashate "${scripts[@]}"
}

linters() {
    step "ruff check" ruff check .
    step "ruff format" ruff format --check .
    step "mypy --strict" mypy
    step "codespell" codespell
    step "shellcheck" check_shell
    step "bashate" check_devstack
    step "documentation" sphinx-build -q -W --keep-going \
        -d "$LOGS/doctrees" doc/source "$LOGS/doc"
    step "release notes" reno --quiet lint
}

fast_tests() {
    local folders=() folder
    for folder in tests/unit tests/property tests/architecture; do
        [ -d "$folder" ] && folders+=("$folder")
    done
    tests "unit, property and architecture tests" -n auto "${folders[@]}" "$@"
}

# profiles_for ARGUMENT…: sets PROFILES to what pytest's arguments make it run.
profiles_for() {
    local argument folder is_fast=0
    PROFILES=(test servers lab)
    for argument in "$@"; do
        [ -e "${argument%%::*}" ] || continue
        folder=$(realpath --relative-to=. "${argument%%::*}")
        case $folder/ in
        tests/unit/* | tests/property/* | tests/architecture/*) is_fast=1 ;;
        *) return 0 ;;
        esac
    done
    ((!is_fast)) || PROFILES=()
}

cd "$ROOT"
is_quick=0
case ${1-} in
-h | --help)
    usage
    exit
    ;;
'')
    export GPU_PASSTHROUGH_CAMPAIGN=part
    ;;
--all)
    export GPU_PASSTHROUGH_CAMPAIGN=all
    ;;
--quick)
    is_quick=1
    ;;
esac
PROFILES=(test servers lab)
case ${1---every} in
--every | --all) ;;
--quick) PROFILES=(test servers) ;;
*) profiles_for "$@" ;;
esac
if ((${#PROFILES[@]})); then
    install_packages "${PROFILES[@]}"
    make_test_venv all
else
    make_test_venv unit
fi
export PATH=$VENV/bin:$PATH
LOGS=$(mktemp -d "$GPU_PASSTHROUGH_CACHE/run.XXXXXX")
trap 'rm -rf "$LOGS"' EXIT

case ${1---every} in
--every | --all | --quick)
    shift $(($# ? 1 : 0))
    linters
    fast_tests "$@"
    # Much of their time they wait, for leases to end or servers to start.
    tests "functional tests" tests/functional -m "not lab" \
        -n 4 --dist loadfile --durations 15 "$@"
    # Each host that a module boots is its own; a core serves one.
    ((is_quick)) || tests "tests on the emulated host" \
        tests/functional -m lab -n 2 --dist loadfile --durations 20 "$@"
    ;;
*)
    tests "pytest" "$@"
    ;;
esac
report
