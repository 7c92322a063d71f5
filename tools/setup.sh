# shellcheck shell=bash
# Sourced by quickstart.sh and run-tests.sh: makes a machine ready.
#
# What takes long to make is kept in the folder GPU_PASSTHROUGH_CACHE
# (~/.cache/gpu-passthrough-plugin).  PYTHON names another Python to use.

set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
export GPU_PASSTHROUGH_CACHE=${GPU_PASSTHROUGH_CACHE:-${HOME:-~}/.cache/gpu-passthrough-plugin}
VENV=

# A checkout of another user's is fine; git asks to be told so.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$ROOT
# pbr takes the version from git; a tree without git has none.
[ -e "$ROOT/.git" ] || export PBR_VERSION=${PBR_VERSION:-0.0.0}

# say TEXT…: a line with the seconds since the script began.
say() {
    printf '[%4d s] %s\n' "$SECONDS" "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# long TITLE COMMAND…: runs it with a sign of life every ten seconds; its
# output is shown only when it fails.
long() {
    local title=$1 log pid status=0 begun=$SECONDS
    shift
    log=$(mktemp "$GPU_PASSTHROUGH_CACHE/log.XXXXXX")
    say "$title …"
    "$@" >"$log" 2>&1 9>&- &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        # The first second in small steps: most commands take no longer.
        if ((SECONDS == begun)); then sleep 0.1; else sleep 1; fi
        if ((SECONDS > begun && (SECONDS - begun) % 10 == 0)); then
            say "$title … $((SECONDS - begun)) s so far"
        fi
    done
    wait "$pid" || status=$?
    if ((status)); then
        cat "$log" >&2
    fi
    rm -f "$log"
    return "$status"
}

# debian_packages PROFILE…: what bindep.txt lists for these profiles.
debian_packages() {
    local line name profiles profile
    while read -r line; do
        line=${line%%#*}
        read -r name profiles <<<"$line"
        [ -n "$name" ] || continue
        profiles=${profiles//[\[\]]/}
        for profile in $profiles; do
            case $profile in
            platform:*) ;;
            *) [[ " $* " == *" $profile "* ]] || continue 2 ;;
            esac
        done
        printf '%s\n' "$name"
    done <"$ROOT/bindep.txt"
}

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages PROFILE…: installs what is missing of them, if anything.
install_packages() {
    local name missing=() get=(apt-get -y -o DPkg::Lock::Timeout=300)
    if ! command -v dpkg-query >/dev/null; then
        say "no Debian: install what bindep.txt lists by this system's means"
        return
    fi
    for name in $(debian_packages "$@"); do
        is_installed "$name" || missing+=("$name")
    done
    ((${#missing[@]})) || return 0
    [ "$(id -u)" = 0 ] ||
        die "missing packages; as root: apt-get install ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    long "asking for Debian's package lists" "${get[@]}" update ||
        say "the package lists are not all new; going on with those there are"
    long "installing ${missing[*]}" \
        "${get[@]}" --no-install-recommends install "${missing[@]}" ||
        die "apt-get could not install ${missing[*]}"
}

# python_found: the first Python that is new enough and can make a venv.
python_found() {
    local python
    for python in ${PYTHON:+"$PYTHON"} python3 /usr/bin/python3 \
        python3.13 python3.12 python3.11; do
        if "$python" -c 'import ensurepip, sys, venv
sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    die "no Python with venv from 3.11 on; install one or name it in PYTHON"
}

digest() {
    sha256sum | cut -c 1-12
}

# make_venv FILE…: sets VENV to one with the package and what FILEs require.
make_venv() {
    local python key
    python=$(python_found)
    key=$(
        cd "$ROOT"
        { "$python" -c 'import sys; print(sys.version, sys.base_prefix)'; cat "$@"; } |
            digest
    )
    VENV=$GPU_PASSTHROUGH_CACHE/venv-$(printf '%s %s' "$ROOT" "$*" | digest)-$key
    # One at a time: two scripts may start in one checkout.
    exec 9>"$GPU_PASSTHROUGH_CACHE/venv.lock"
    flock 9
    if ! [ -e "$VENV/.ready" ]; then
        # Those before it were for other requirements.
        rm -rf "${VENV%-*}"-*
        long "making a Python environment" "$python" -m venv "$VENV" ||
            die "$python could not make $VENV"
        pip_install "installing Python packages" "${@/#/--requirement=}"
        touch "$VENV/.ready"
    fi
    # What nobody used for days is cleared when a lab image is built.
    touch "$VENV"
    install_package
    exec 9>&-
}

# install_package: the checkout itself; anew when its metadata changed.
install_package() {
    local now
    now=$(cd "$ROOT" && cat setup.cfg setup.py pyproject.toml | digest)
    [ "$(cat "$VENV/.package" 2>/dev/null)" != "$now" ] || return 0
    # Through a plain path file, which costs a start of Python nothing.
    pip_install "installing the package" --no-deps \
        --config-settings editable_mode=compat --editable "$ROOT"
    printf '%s\n' "$now" >"$VENV/.package"
}

# pip_install TITLE ARGUMENT…
pip_install() {
    local title=$1
    shift
    (
        cd "$ROOT"
        long "$title" "$VENV/bin/python" -m pip --disable-pip-version-check \
            --no-input install "$@"
    ) || die "pip could not finish: $title"
}

mkdir -p "$GPU_PASSTHROUGH_CACHE"
