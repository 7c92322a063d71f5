#!/bin/bash
# Installs what the tests need and runs them.
#
# Functions are called by name, through "step".
# shellcheck disable=SC2317
set -euo pipefail
# shellcheck source=tools/setup.sh
. "$(dirname -- "$0")/tools/setup.sh"
# shellcheck source=tools/steps.sh
. "$ROOT/tools/steps.sh"
# shellcheck source=tools/parts.sh
. "$ROOT/tools/parts.sh"

usage() {
    cat <<'END'
usage: ./run-tests.sh [--no-install] [--all | --quick] [PART…] [PYTEST ARGUMENT…]

Without arguments: linters, documentation, and every test but those on the
emulated host that take longest: of these, and of campaigns that kill a command
at every act, it runs the part that the commit draws; the head of the output
says how to run the same again.
--all: really every test, and whole campaigns; this takes hours.
--quick: without the emulated host (marker "lab").
PART: only that part, or these; "list" prints what parts there are.
--no-install: with the Python and the programs that there are, as tox does.
PYTEST ARGUMENTs alone: only pytest with these, such as tests/unit/conf -k alias;
its long options, such as --lf, follow a part or a path.

Variables: GPU_PASSTHROUGH_SEED draws the same again, or something else;
GPU_PASSTHROUGH_CACHE is a folder for what takes long to make;
GPU_PASSTHROUGH_WRITE_GOLDEN=1 accepts what differs from golden files; PYTHON
is the Python to use.
END
}

SHELL_LINE='^#! ?/(usr/)?bin/(env )?(ba|da)?sh'

list_parts() {
    local name
    for name in "${PARTS[@]}"; do
        part "$name"
        printf '%-19s %s\n' "$name" "$TITLE"
    done
}

shell_scripts() {
    local file
    {
        git ls-files '*.sh' .ci/run devstack/plugin.sh devstack/settings
        # Scripts within other texts are looked at by their own tests.
        git grep -lE "$SHELL_LINE" | while read -r file; do
            ! head -n 1 "$file" | grep -qE "$SHELL_LINE" || echo "$file"
        done
    } | sort -u
}

check_shell() {
    local scripts
    mapfile -t scripts < <(shell_scripts)
    shellcheck -x "${scripts[@]}"
}

# DevStack sources these, so that its own style applies to them.
check_devstack() {
    local scripts
    mapfile -t scripts < <(
        git ls-files devstack tests/functional/devstack/functions.sh ':!*.rst'
    )
    bashate "${scripts[@]}"
}

# fast_tests ARGUMENT…: with coverage of the pure rooms, unless arguments select
# some of the tests.
fast_tests() {
    if (($#)); then
        tests "$TITLE" -n auto "${ARGUMENTS[@]}" "$@"
        return
    fi
    export COVERAGE_FILE=$LOGS/coverage
    # What costs least, where Python has it.  Source: PEP 669.
    ! python -c 'import sys; sys.monitoring' 2>/dev/null ||
        export COVERAGE_CORE=sysmon
    tests "$TITLE" -n auto --cov --cov-report= "${ARGUMENTS[@]}"
    step "coverage by room" \
        python -m tests.architecture.room_coverage "$COVERAGE_FILE"
}

# run_part NAME ARGUMENT…: the arguments are pytest's, besides the part's own.
run_part() {
    local name=$1 begun=$SECONDS
    shift
    part "$name"
    case $name in
    lint)
        step "ruff check" ruff check .
        step "ruff format" ruff format --check .
        step "mypy --strict" mypy
        step "codespell" codespell
        step "shellcheck" check_shell
        step "bashate" check_devstack
        ;;
    docs)
        step "documentation" sphinx-build -q -W --keep-going \
            -d "$LOGS/doctrees" doc/source "$LOGS/doc"
        step "manual page" sphinx-build -q -W -b man \
            -d "$LOGS/doctrees-man" doc/source "$LOGS/man"
        step "release notes" reno --quiet lint
        ;;
    unit)
        fast_tests "$@"
        ;;
    *)
        tests "$TITLE" "${ARGUMENTS[@]}" "$@"
        ;;
    esac
    say "part $name took $((SECONDS - begun)) s"
}

# make_ready LAYER PROFILE…: this machine, and PATH with a layer of the tests'
# environment first.
make_ready() {
    local layer=$1
    shift
    ((!is_installing)) && return
    [ "$layer" = unit ] || install_packages "$@"
    make_test_venv "$layer"
    export PATH=$VENV/bin:$PATH VIRTUAL_ENV=$VENV
}

main() {
    local chosen names name profiles layer is_every
    cd "$ROOT"
    is_installing=1
    [ "${1-}" != --no-install ] || { is_installing=0 && shift; }
    chosen=("${USUAL[@]}")
    is_every=$((!$#))
    case ${1-} in
    -h | --help)
        usage
        exit
        ;;
    --all)
        export GPU_PASSTHROUGH_CAMPAIGN=all
        chosen=("${PARTS[@]}") is_every=1
        shift
        ;;
    --quick)
        chosen=("${QUICK[@]}") is_every=1
        shift
        ;;
    esac
    names=()
    while [ "${1-}" = list ] || is_part "${1-}"; do
        [ "$1" != list ] || { list_parts && exit; }
        names+=("$1")
        shift
    done
    # After minutes of installing, pytest would say that it knows no such option.
    if ((!${#names[@]})) && [[ ${1-} == --* ]]; then
        usage >&2
        die "$1 is not an option of this script; pytest's long options follow \
a part or a path"
    fi
    if ((${#names[@]})); then
        chosen=("${names[@]}") is_every=1
    elif ((is_every)) && [ -n "${1-}" ] && [[ $1 != -* && ! -e ${1%%::*} ]]; then
        die "$1 is not a part; './run-tests.sh list' prints the parts"
    fi

    if ((!is_every)); then
        profiles_for "$@"
        layer=all
        ((${#PROFILES[@]})) || layer=unit
        make_ready "$layer" "${PROFILES[@]}"
    else
        # Without --all, what takes longest is drawn.
        export GPU_PASSTHROUGH_CAMPAIGN=${GPU_PASSTHROUGH_CAMPAIGN:-part}
        layer=unit profiles=()
        for name in "${chosen[@]}"; do
            part "$name"
            profiles+=("${PROFILES[@]}")
            [ "$name" = unit ] || layer=all
        done
        make_ready "$layer" "${profiles[@]}"
    fi
    LOGS=$(mktemp -d "$GPU_PASSTHROUGH_CACHE/run.XXXXXX")
    trap 'rm -rf "$LOGS"' EXIT

    if ((is_every)); then
        for name in "${chosen[@]}"; do
            run_part "$name" "$@"
        done
    else
        tests "pytest" "$@"
    fi
    local status=0
    report || status=1
    # What is read of this file from here on may have changed meanwhile.
    exit "$status"
}

main "$@"
