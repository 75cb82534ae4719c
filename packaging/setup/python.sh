#!/usr/bin/env bash
# Makes a virtual environment in the cache folder from a file of pinned packages.
# usage: python.sh NAME REQUIREMENTS
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"

name=$1
requirements=$2
python=$(command -v python3 || true)
if [ -z "$python" ] || ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$here/debian.sh" python3 python3-venv
    python=/usr/bin/python3
fi

lock "$name"
venv=$OUTPOST_CACHE/$name
state=$(fingerprint "$requirements" "$("$python" -VV)")
[ "$(cat "$venv/.state" 2>/dev/null)" != "$state" ] || exit 0

say "Python packages into $venv"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/pip" --quiet --disable-pip-version-check install --no-deps -r "$requirements"
"$venv/bin/pip" --quiet --disable-pip-version-check check
printf '%s\n' "$state" >"$venv/.state"
