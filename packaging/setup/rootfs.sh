#!/usr/bin/env bash
# Makes the root of the machine that the tests boot: this machine's own release of Debian, from where this machine gets
# its packages, with systemd and the libraries that the daemon links, so that its package installs without a network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"

if [ "$(id -u)" != 0 ] || ! command -v dpkg-query >/dev/null; then
    say "a machine of the tests' own is made and booted by root on Debian only: the tests of the service will fail"
    exit 0
fi
. /etc/os-release

# The run-time side of each development package, whatever number its name has in this release.
libraries=$(dpkg-query -W -f '${Depends}\n' libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libsystemd-dev |
    tr ',' '\n' | sed 's/^ *//; s/ .*//' | grep -v -e '-dev$' -e '^$' | sort -u | paste -s -d ,)
packages=systemd,systemd-sysv,dbus,ca-certificates,tzdata,$libraries

lock rootfs
root=$OUTPOST_CACHE/rootfs
state=$(fingerprint "${BASH_SOURCE[0]}" "$packages" "$VERSION_CODENAME")
[ "$(cat "$OUTPOST_CACHE/rootfs.state" 2>/dev/null)" != "$state" ] || exit 0

say "a Debian of the tests' own into $root"
apt-get -q update >&2
# Debian's own archives alone: what else this machine knows has no part in it.
sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)#$(ORIGIN)' 'Created-By: Packages' |
    sed -n "s/#${ID^}\$//p" | grep -e " $VERSION_CODENAME" | sort -u)
[ -n "$sources" ] || die "apt knows no archive of ${ID^}"

rm -rf --one-file-system -- "$root"
rm -f -- "$OUTPOST_CACHE/rootfs.state"
mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    "$VERSION_CODENAME" "$root" - <<<"$sources" >&2
# An empty one is filled at each boot; without the file systemd would ask the questions of a first boot.
: >"$root/etc/machine-id"
rm -f -- "$root/etc/hostname"
# It shares this machine's network and has nothing to set up there.
ln -s -f /dev/null "$root/etc/systemd/system/systemd-networkd.service"
printf '%s\n' "$state" >"$OUTPOST_CACHE/rootfs.state"
