#!/usr/bin/env bash
# Installs what tests/browser/package-lock.json pins.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"

browser=$here/../../tests/browser
command -v node >/dev/null || "$here/debian.sh" nodejs
command -v npm >/dev/null || "$here/debian.sh" npm

lock node
node=$OUTPOST_CACHE/node
state=$(fingerprint "$browser/package.json" "$browser/package-lock.json" "$(node --version)")
[ "$(cat "$node/.state" 2>/dev/null)" != "$state" ] || exit 0

say "npm packages into $node"
rm -rf "$node"
mkdir -p "$node"
cp "$browser/package.json" "$browser/package-lock.json" "$node/"
# Nothing is fetched but the packages: the browser is Debian's.
(cd "$node" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
printf '%s\n' "$state" >"$node/.state"
