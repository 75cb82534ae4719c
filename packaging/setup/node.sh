#!/usr/bin/env bash
# Installs in the cache folder what a folder's package-lock.json pins.
# usage: node.sh NAME FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"

name=$1
folder=$2
command -v node >/dev/null || "$here/debian.sh" nodejs
command -v npm >/dev/null || "$here/debian.sh" npm

lock "$name"
modules=$OUTPOST_CACHE/$name
state=$(fingerprint "$folder/package.json" "$folder/package-lock.json" "$(node --version)")
[ "$(cat "$modules/.state" 2>/dev/null)" != "$state" ] || exit 0

say "npm packages into $modules"
rm -rf "$modules"
mkdir -p "$modules"
cp "$folder/package.json" "$folder/package-lock.json" "$modules/"
# Nothing is fetched but the packages: the browser is Debian's, and no package needs what it could build.
(cd "$modules" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 \
    npm ci --silent --no-audit --no-fund --ignore-scripts --omit=optional >&2)
printf '%s\n' "$state" >"$modules/.state"
