#!/bin/sh
# Makes the environment .venv with the pinned versions, from nothing but a shell and the network.
# A Python of 3.12 to 3.14 is looked for; where there is none, uv is fetched and brings one.
# Usage: sh scripts/make_venv.sh   (or `make setup`, which runs it only when it is needed)
set -eu
cd "$(dirname "$0")/.."

venv=.venv
tools=build/uv
fits='import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 14))'

# Personal settings of pip that would lead the packages elsewhere than into the environment.
unset PIP_USER PIP_TARGET PIP_PREFIX PYTHONHOME PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1
export PIP_DEFAULT_TIMEOUT="${PIP_DEFAULT_TIMEOUT:-60}"

say() { printf 'persist: %s\n' "$*"; }

fail() {
    printf 'persist: %s\n' "$*" >&2
    exit 1
}

# A name on the path may be a shim of pyenv without a version behind it, so an interpreter counts only if it starts.
starts() { "$1" -c "$2" >/dev/null 2>&1; }

find_python() {
    pyenv="${PYENV_ROOT:-${HOME:-/nowhere}/.pyenv}/versions"
    for name in python3.12 python3.13 python3.14 python3 python /usr/bin/python3 "$pyenv"/3.1[234].*/bin/python3; do
        if starts "$name" "$fits"; then
            printf '%s\n' "$name"
            return
        fi
    done
}

# uv from the path, from an earlier run, or installed beside the project (nothing is written to the user's home).
find_uv() {
    for name in uv "$tools/bin/uv" "$tools-env/bin/uv"; do
        if "$name" --version >/dev/null 2>&1; then
            printf '%s\n' "$name"
            return
        fi
    done
    for name in python3 /usr/bin/python3 python /usr/local/bin/python3; do
        starts "$name" 'import sys; sys.exit(sys.version_info < (3, 8))' || continue
        mkdir -p build
        if "$name" -m pip install --quiet --target "$tools" uv >&2 && "$tools/bin/uv" --version >/dev/null 2>&1; then
            printf '%s\n' "$tools/bin/uv"
            return
        fi
        rm -rf "$tools"
        if "$name" -m venv "$tools-env" >&2 && "$tools-env/bin/python" -m pip install --quiet uv >&2; then
            printf '%s\n' "$tools-env/bin/uv"
            return
        fi
        rm -rf "$tools-env"
    done
}

fetch_python() {
    say "no Python from 3.12 to 3.14 starts here; letting uv find or fetch one" >&2
    uv=$(find_uv)
    [ -n "$uv" ] || fail "neither Python 3.12 nor a way to get uv was found; install Python 3.12 (or uv), then run this again"
    python=$("$uv" python find --no-project '>=3.12,<3.15' 2>/dev/null || true)
    if [ -z "$python" ] || ! starts "$python" "$fits"; then
        "$uv" python install 3.12 >&2 || fail "uv could not fetch Python 3.12 (see above); install Python 3.12, then run this again"
        python=$("$uv" python find --no-project --managed-python 3.12)
    fi
    printf '%s\n' "$python"
}

if [ -e "$venv" ] && ! starts "$venv/bin/python" "$fits"; then
    say "$venv does not work or is of another Python; making it anew"
    rm -rf "$venv"
fi
if [ ! -e "$venv" ]; then
    python=$(find_python)
    [ -n "$python" ] || python=$(fetch_python)
    say "making $venv with $("$python" --version 2>&1) ($python)"
    "$python" -m venv "$venv" || fail "$python could not make an environment (see above)"
fi

say "installing the pinned packages of constraints.txt; the first time takes a minute or two"
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt --editable ".[dev]" ||
    fail "the packages could not be installed (see above); check the network, then run this again"
touch "$venv/.ready"
say "ready"
