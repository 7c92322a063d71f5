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
    local title=$1 log=$LOGS/pytest
    shift
    step "$title" run_pytest "$log" "$@"
    SUMMARIES+=("$title: $(tail -n 1 "$log")")
}

run_pytest() {
    local log=$1
    shift
    pytest "$@" | tee "$log"
}

report() {
    printf '\n'
    printf '%s\n' "${PASSED[@]}" "${FAILED[@]}"
    say "done: ${#FAILED[@]} of $((${#PASSED[@]} + ${#FAILED[@]})) steps failed"
    printf '%s\n' "${SUMMARIES[@]}"
    [ "${#FAILED[@]}" = 0 ]
}
