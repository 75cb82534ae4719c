# Sourced by the set-up scripts: where everything goes that a fresh clone does not carry.
# shellcheck shell=bash

OUTPOST_CACHE=${OUTPOST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outpost}
mkdir -p "$OUTPOST_CACHE"

say() { printf 'setup: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# One set-up at a time; a second one waits and then finds everything in place.
lock() {
    exec 9>"$OUTPOST_CACHE/$1.lock"
    flock 9
}

# Hash of the contents of files and of further words: the name of a state that need not be made again.
fingerprint() {
    local file
    {
        for file in "$@"; do
            if [ -f "$file" ]; then cat "$file"; else printf '%s\n' "$file"; fi
        done
    } | sha256sum | cut -d ' ' -f 1
}
