#!/usr/bin/env bash
# Says what to do when there is no Rust, or one that is too old; installs nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"

needed=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$here/../../Cargo.toml")
command -v cargo >/dev/null || die "cargo is missing: install Rust $needed or newer (https://rustup.rs)"
found=$(rustc --version | cut -d ' ' -f 2)
oldest=$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)
[ "$oldest" = "$needed" ] || die "rustc $found is too old: $needed or newer is needed (rustup update)"
