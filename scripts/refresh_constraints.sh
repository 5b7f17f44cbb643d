#!/bin/sh
# Writes constraints.txt anew: the newest versions that pyproject.toml allows, from a fresh environment.
# Usage: make constraints   (then `make ci`, and commit only what passes)
set -eu
cd "$(dirname "$0")/.."

fresh=build/constraints
rm -rf "$fresh"
mkdir -p build
trap 'rm -rf "$fresh"' EXIT

echo "persist: installing the newest allowed versions into a throw-away environment"
.venv/bin/python -m venv "$fresh"
"$fresh/bin/python" -m pip install --quiet --editable ".[dev]"
{
    sed -n '/^#/p' constraints.txt
    # Plain "name==version" lines alone: no addresses, no local files.
    "$fresh/bin/python" -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==[A-Za-z0-9.!]+$'
} >"$fresh/constraints.txt"
mv "$fresh/constraints.txt" constraints.txt
echo "persist: constraints.txt is refreshed; run \`make ci\` before you commit it"
