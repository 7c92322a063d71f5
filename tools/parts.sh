# shellcheck shell=bash
# Sourced by run-tests.sh: the parts of a run.
#
# Every test belongs to exactly one part (tests/functional/test_parts.py), and
# with --all no part takes over two hours on two cores.
#
# Who sources this uses what it sets.
# shellcheck disable=SC2034

# In the order in which they are run.  Those behind "lab" are for --all: other
# runs draw a few of their tests, as part of "functional" and of "lab".
PARTS=(
    lint docs unit functional lab
    lab-rotating agent-faults
    ledger-sqlite ledger-mariadb ledger-postgresql ledger-placement
    enabling-killed-1 enabling-killed-2 disabling-killed-1 disabling-killed-2
)
USUAL=(lint docs unit functional lab)
QUICK=(lint docs unit functional)

# A campaign that kills a command has so many shards; a part runs half of them,
# each on a core of its own.
SHARDS=4

# part NAME: sets TITLE; PROFILES, which name packages in bindep.txt; and
# ARGUMENTS, which are pytest's.
part() {
    local tests=tests/functional verb=${1%%-*} half=$((SHARDS / 2)) shard test
    local is_whole=0
    [ "${GPU_PASSTHROUGH_CAMPAIGN-}" != all ] || is_whole=1
    PROFILES=(test servers) ARGUMENTS=()
    case $1 in
    lint)
        TITLE="linters and types" PROFILES=(test)
        ;;
    docs)
        TITLE="documentation and release notes" PROFILES=()
        ;;
    unit)
        # Even what a program of ours needs to run is more than these need.
        TITLE="unit, property and architecture tests" PROFILES=()
        ARGUMENTS=(tests/unit tests/property tests/architecture)
        ;;
    functional)
        TITLE="functional tests"
        ARGUMENTS=("$tests" -m "not lab")
        ((!is_whole)) || ARGUMENTS=("$tests" -m "not lab and not campaign")
        # Much of their time they wait, for leases to end or servers to start.
        ARGUMENTS+=(-n 4 --dist loadfile --durations 15)
        ;;
    lab)
        TITLE="emulated hosts" PROFILES+=(lab)
        ARGUMENTS=("$tests" -m lab)
        ((!is_whole)) || ARGUMENTS=("$tests" -m "lab and not rotating")
        # Each host that a module boots is its own; a core serves one.
        ARGUMENTS+=(-n 2 --dist loadfile --durations 20)
        ;;
    lab-rotating)
        TITLE="emulated hosts, the longest tests" PROFILES+=(lab)
        ARGUMENTS=("$tests" -m "lab and rotating and not campaign")
        ARGUMENTS+=(-n 2 --dist loadfile --durations 20)
        ;;
    agent-faults)
        TITLE="fault campaign on a host with the agent"
        ARGUMENTS=("$tests/test_agent_faults.py")
        ;;
    ledger-sqlite)
        TITLE="fault campaign on a ledger in SQLite"
        ARGUMENTS=("$tests/test_ledger_faults.py::test_sqlite")
        ;;
    ledger-mariadb)
        TITLE="fault campaign on a ledger in MariaDB"
        ARGUMENTS=("$tests/test_ledger_faults.py::test_server[MariaDB]")
        ;;
    ledger-postgresql)
        TITLE="fault campaign on a ledger in PostgreSQL"
        ARGUMENTS=("$tests/test_ledger_faults.py::test_server[PostgreSQL]")
        ;;
    ledger-placement)
        TITLE="fault campaign on a ledger in Placement"
        ARGUMENTS=("$tests/test_placement_faults.py::test_placement")
        ;;
    *-killed-[12])
        TITLE="$verb a host, killed at every act: half ${1##*-} of 2"
        PROFILES+=(lab)
        test=$tests/test_${verb}_killed.py::test_${verb}_killed_before_any_act
        for ((shard = (${1##*-} - 1) * half + 1; shard <= ${1##*-} * half; shard++)); do
            ARGUMENTS+=("${test}[${shard}of$SHARDS]")
        done
        ARGUMENTS+=(-n 2)
        ;;
    *)
        return 1
        ;;
    esac
}

# is_part NAME: whether a part is called that.
is_part() {
    [[ -n $1 && " ${PARTS[*]} " == *" $1 "* ]]
}

# profiles_for ARGUMENT…: sets PROFILES to what tests need that pytest's
# arguments select: none for unit, property and architecture tests alone.
profiles_for() {
    local argument path is_named=0 is_functional=0 is_lab=0
    for argument in "$@"; do
        path=${argument%%::*}
        [ -e "$path" ] || continue
        is_named=1
        case $(realpath --relative-to=. "$path")/ in
        tests/unit/* | tests/property/* | tests/architecture/*) ;;
        *)
            is_functional=1
            ! grep -rqs --include='*.py' 'mark\.lab' "$path" || is_lab=1
            ;;
        esac
    done
    # Without a path, it is all tests that are selected from.
    ((is_named)) || is_functional=1 is_lab=1
    [[ $* != *"not lab"* ]] || is_lab=0
    PROFILES=()
    ((!is_functional)) || PROFILES=(test servers)
    ((!is_lab)) || PROFILES+=(lab)
}
