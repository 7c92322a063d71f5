#!/bin/bash
# Stand-ins for the functions of DevStack that the plugin calls: the same
# names, arguments and effects, and nothing of what the plugin does not use.
# What a function is asked to do to the system is a line in $CALLS instead.
#
# Source: devstack, functions-common (is_service_enabled, enable_service,
# define_plugin, load_plugin_settings, trueorfalse, die, warn,
# install_package, restart_service), functions (echo_summary), inc/ini-config (iniget, iniset), inc/python
# (get_python_exec_prefix, setup_develop), lib/database (recreate_database,
# database_connection_url)

# is_service_enabled service [service ...]: whether one of them is
function is_service_enabled {
    local service
    for service in "$@"; do
        [[ ",$ENABLED_SERVICES," == *",$service,"* ]] && return 0
        [[ $service == nova && ",$ENABLED_SERVICES" == *,n-* ]] && return 0
    done
    return 1
}

# enable_service service [service ...]
function enable_service {
    local service
    for service in "$@"; do
        if [[ ",$DISABLED_SERVICES," == *",$service,"* ]]; then
            warn $LINENO "$service is disabled"
        elif ! is_service_enabled "$service"; then
            ENABLED_SERVICES+=",$service"
        fi
    done
}

# define_plugin name
function define_plugin {
    :
}

# load_plugin_settings: those of each enabled plugin
function load_plugin_settings {
    # shellcheck source=devstack/settings
    source "$PLUGIN/devstack/settings"
}

# trueorfalse default variable: the variable by its name
function trueorfalse {
    case ${!2:-} in
        1 | yes | Yes | YES | true | True | TRUE) echo True ;;
        0 | no | No | NO | false | False | FALSE) echo False ;;
        *) echo "$1" ;;
    esac
}

# die line word [word ...]: ends stack.sh
function die {
    echo "[ERROR] $1 ${*:2}" >&2
    exit 1
}

# warn line message: one word, what comes behind it is not shown
function warn {
    echo "[WARNING] $1 $2"
}

function echo_summary {
    echo "$@"
}

# iniget file section option: without blanks around; many become one
function iniget {
    local value
    value=$(awk -v section="[$2]" -v option="$3" '
        /^\[/ { is_here = index($0, section) == 1 }
        is_here && match($0, "^" option "[ \t]*=") {
            print substr($0, RLENGTH + 1)
        }' "$1")
    # shellcheck disable=SC2086
    echo $value
}

# iniset file section option value: blanks of a value become one, a new
# section comes last, a new option first in its section.
function iniset {
    local value
    # shellcheck disable=SC2086
    value=$(printf '%s ' $4)
    value=${value% }
    if ! grep -q "^\[$2\]" "$1" 2>/dev/null; then
        printf '\n[%s]\n' "$2" >>"$1"
    fi
    OPTION=$3 VALUE=$value awk -v section="[$2]" '
        BEGIN { option = ENVIRON["OPTION"]; value = ENVIRON["VALUE"] }
        { lines[NR] = $0 }
        /^\[/ { is_here = index($0, section) == 1; if (is_here) head = NR }
        is_here && match($0, "^" option "[ \t]*=[ \t]*") {
            lines[NR] = substr($0, 1, RLENGTH) value
            is_there = 1
        }
        END {
            for (i = 1; i <= NR; i++) {
                print lines[i]
                if (i == head && !is_there) print option " = " value
            }
        }' "$1" >"$1.new"
    cat "$1.new" >"$1"
    rm "$1.new"
}

# get_python_exec_prefix: the folder of what pip installs
function get_python_exec_prefix {
    echo "$DEVSTACK_VENV/bin"
}

# install_package name [name ...]
function install_package {
    echo "install_package $*" >>"$CALLS"
}

# setup_develop [-bindep] folder [extras]
function setup_develop {
    echo "setup_develop $*" >>"$CALLS"
}

# restart_service name: one of them
function restart_service {
    echo "restart_service $*" >>"$CALLS"
}

# recreate_database name
function recreate_database {
    echo "recreate_database $*" >>"$CALLS"
}

# database_connection_url name
function database_connection_url {
    echo "$BASE_SQL_CONN/$1?charset=utf8"
}

# Tests are root, or work in folders of their own.
function sudo {
    "$@"
}
