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
    local names
    if ! command -v dpkg-query >/dev/null; then
        say "not Debian: install what bindep.txt lists with this system's tools"
        return
    fi
    mapfile -t names < <(debian_packages "$@")
    install_named "${names[@]}"
}

# install_named NAME…: installs those of these packages that are missing.
install_named() {
    local name missing=() get=(apt-get -y -o DPkg::Lock::Timeout=300)
    for name in "$@"; do
        is_installed "$name" || missing+=("$name")
    done
    ((${#missing[@]})) || return 0
    [ "$(id -u)" = 0 ] ||
        die "missing packages; as root: apt-get install ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    say "Debian packages to install: ${missing[*]}"
    long "reading Debian's package lists" "${get[@]}" update ||
        say "some package lists could not be updated; using those there are"
    long "installing ${#missing[@]} Debian packages" \
        "${get[@]}" --no-install-recommends install "${missing[@]}" ||
        die "apt-get could not install ${missing[*]}"
}

# find_python: prints the first Python that is new enough and can make a venv.
find_python() {
    local python
    for python in ${PYTHON:+"$PYTHON"} python3 /usr/bin/python3 \
        python3.13 python3.12 python3.11; do
        if "$python" -c 'import ensurepip, sys, venv
sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    return 1
}

# require_python: prints a Python to make a venv with; Debian's own lacks the
# module, which is all that is installed then.
require_python() {
    if ! find_python; then
        ! command -v dpkg-query >/dev/null || install_named python3-venv >&2
        find_python ||
            die "no Python with venv from 3.11 on; install one or name it in PYTHON"
    fi
}

digest() {
    sha256sum | cut -c 1-12
}

# make_venv FILE…: sets VENV to one with the package and what FILEs require.
make_venv() {
    open_venv "$*" "$@"
    fill_venv ready "installing Python packages" "${@/#/--requirement=}"
    install_package
    exec 9>&-
}

# make_locked_venv: sets VENV to one with the package and exactly what
# locked-requirements.txt names, where pip compares each file's digest.
#
# What pip builds from source is built with the tools that were so installed;
# pip would fetch others for it, of any release and unseen.
make_locked_venv() {
    local file=locked-requirements.txt
    open_venv "$file" "$file"
    sed -n '/^\(pbr\|setuptools\)==/,/[^\\]$/p' "$ROOT/$file" >"$VENV/build.txt"
    fill_venv build "installing what builds Python packages" \
        --require-hashes --no-deps --requirement="$VENV/build.txt"
    fill_venv ready "installing Python packages" \
        --require-hashes --no-build-isolation --requirement="$file"
    install_package --no-build-isolation
    exec 9>&-
}

# make_test_venv LAYER: sets VENV to the tests' own, with at least a layer.
#
# "unit" is what unit, property and architecture tests import, all of it wheels
# from PyPI: libvirt's binding, which is compiled, is left out.  "all" adds what
# every other test and the linters need.
make_test_venv() {
    local layer=$1 files
    files=(requirements.txt "${TEST_REQUIREMENTS[@]}")
    open_venv tests "${files[@]}"
    if ! [ -e "$VENV/.all" ]; then
        grep -v '^libvirt-python' "$ROOT/requirements.txt" >"$VENV/unit.txt"
        # Modules are compiled when they are first imported, if ever.
        fill_venv unit "installing Python packages for unit tests" --no-compile \
            --requirement="$VENV/unit.txt" --requirement=test-requirements.txt
    fi
    if [ "$layer" = all ]; then
        fill_venv all "installing Python packages for all tests" \
            "${files[@]/#/--requirement=}" \
            "${EDITABLE[@]}" "${ROOT}[$(extras)]"
        [ -e "$VENV/.package" ] || package_digest >"$VENV/.package"
    fi
    install_package
    exec 9>&-
}

# Files that name what tests and linters need besides requirements.txt and the
# package's extras; tox.ini names the same.
TEST_REQUIREMENTS=(
    test-requirements.txt tests/functional/requirements.txt
    tools/requirements.txt doc/requirements.txt
)

# extras: prints the names of the package's extras, with commas between them.
extras() {
    local names
    mapfile -t names < <(extras_section | sed -n 's/^\([a-z]*\) =$/\1/p')
    (IFS=, && printf '%s\n' "${names[*]}")
}

extras_section() {
    awk '/^\[/ { is_inside = $0 == "[extras]" } is_inside' "$ROOT/setup.cfg"
}

# open_venv NAME FILE…: sets VENV to the environment of this checkout with that
# name, made when there is none for what FILEs say now; others wait meanwhile.
open_venv() {
    local name=$1 python key
    shift
    python=$(require_python)
    key=$(
        cd "$ROOT"
        {
            "$python" -c 'import sys; print(sys.version, sys.base_prefix)'
            cat "$@"
            [ "$name" != tests ] || extras_section
        } | digest
    )
    VENV=$GPU_PASSTHROUGH_CACHE/venv-$(printf '%s %s' "$ROOT" "$name" | digest)-$key
    # One at a time: two scripts may start in one checkout.
    exec 9>"${VENV%-*}.lock"
    flock 9
    if ! [ -e "$VENV/.made" ] && ! [ -e "$VENV/.ready" ]; then
        # Those before it were for other requirements.
        rm -rf "${VENV%-*}"-*
        long "making a Python environment" "$python" -m venv "$VENV" ||
            die "$python could not make $VENV"
        touch "$VENV/.made"
    fi
    # What nobody used for days is cleared when a lab image is built.
    touch "$VENV"
}

# fill_venv LAYER TITLE ARGUMENT…: has pip install a layer of it once.
fill_venv() {
    local layer=$1 title=$2
    shift 2
    [ -e "$VENV/.$layer" ] && return
    pip_install "$title" "$@"
    touch "$VENV/.$layer"
}

# The checkout is installed through a plain path file, which costs a start of
# Python nothing.
EDITABLE=(--config-settings editable_mode=compat --editable)

# install_package ARGUMENT…: the checkout itself; again when its metadata
# changed.  The arguments are pip's.
install_package() {
    local now
    now=$(package_digest)
    [ "$(cat "$VENV/.package" 2>/dev/null)" != "$now" ] || return 0
    pip_install "installing the package" --no-deps "$@" "${EDITABLE[@]}" "$ROOT"
    printf '%s\n' "$now" >"$VENV/.package"
}

package_digest() {
    (cd "$ROOT" && cat setup.cfg setup.py pyproject.toml | digest)
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
