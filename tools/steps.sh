# shellcheck shell=bash
# Sourced by run-tests.sh: the steps of a run, and how each ended.
#
# Of setup.sh it uses say. LOGS is a folder for what pytest prints.

FAILED=()
PASSED=()
SUMMARIES=()

# step TITLE COMMAND…: runs it and remembers how it went.
step() {
    local title=$1 begun=$SECONDS
    shift
    say "$title"
    if "$@"; then
        PASSED+=("$(printf 'ok   %4d s  %s' "$((SECONDS - begun))" "$title")")
    else
        FAILED+=("$(printf 'FAIL %4d s  %s' "$((SECONDS - begun))" "$title")")
    fi
}

# tests TITLE ARGUMENT…: pytest, whose last line is shown again at the end.
tests() {
    local title=$1
    shift
    told "$title" run_pytest "$@"
}

# told TITLE FUNCTION ARGUMENT…: one that runs pytest.
told() {
    local title=$1 function=$2 log=$LOGS/pytest
    shift 2
    step "$title" "$function" "$log" "$@"
    SUMMARIES+=("$title: $(tail -n 1 "$log")")
}

run_pytest() {
    local log=$1
    shift
    pytest "$@" | tee "$log"
}

# run_lab LOG ARGUMENT…: once more for those whose emulated machine stood
# still, if nothing else failed.
run_lab() {
    local log=$1
    # Wide enough that the summary says why.
    export COLUMNS=160
    run_pytest "$@" && return
    grep -qE '^(FAILED|ERROR) .*HostHung' "$log" || return
    grep -E '^(FAILED|ERROR) ' "$log" | grep -qv HostHung && return 1
    say "an emulated machine stood still: what it did, once more"
    run_pytest "$@" --last-failed --last-failed-no-failures none
}

report() {
    printf '\n'
    printf '%s\n' "${PASSED[@]}" "${FAILED[@]}"
    say "done: ${#FAILED[@]} of $((${#PASSED[@]} + ${#FAILED[@]})) steps failed"
    printf '%s\n' "${SUMMARIES[@]}"
    [ "${#FAILED[@]}" = 0 ]
}
