#!/usr/bin/env bash
# Makes the Debian package from a program that is already built, with dpkg's own tools.
# usage: build.sh PROGRAM FOLDER [--version VERSION] [--fast]
#   prints the path of the package, which it puts into FOLDER
#   --version  other than Cargo.toml's, with Debian's revision, e.g. 0.1.0-2
#   --fast     without compression, for tests
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

[ $# -ge 2 ] || die "usage: build.sh PROGRAM FOLDER [--version VERSION] [--fast]"
program=$(realpath "$1")
out=$(realpath "$2")
shift 2
version=$(sed -n '/^\[package\]/,/^\[/ s/^version *= *"\(.*\)"/\1/p' Cargo.toml)-1
compression=(-Zxz)
while [ $# -gt 0 ]; do
    case $1 in
        --version) version=$2 && shift ;;
        --fast) compression=(-Znone) ;;
        *) die "unknown option $1" ;;
    esac
    shift
done

# The program says what it was built for; strip and dpkg-shlibdeps have to be of that kind.
case $(LC_ALL=C readelf --file-header "$program" | sed -n 's/^ *Machine: *//p') in
    *X86-64) architecture=amd64 ;;
    AArch64) architecture=arm64 ;;
    *) die "$program: neither amd64 nor arm64" ;;
esac
DEB_HOST_ARCH=$architecture
export DEB_HOST_ARCH
tools=$(dpkg-architecture -a"$architecture" -qDEB_HOST_GNU_TYPE 2>/dev/null)

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
root=$work/debian/outpost
umask 022
# The same commit gives the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)}
export SOURCE_DATE_EPOCH

doc=$root/usr/share/doc/outpost
install -D -m 755 "$program" "$root/usr/bin/outpost"
"$tools-strip" --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/outpost"
install -D -m 644 config/outpost.toml "$root/etc/outpost/outpost.toml"
install -D -m 644 systemd/outpost.service "$root/lib/systemd/system/outpost.service"
install -D -m 644 systemd/outpost.socket "$root/lib/systemd/system/outpost.socket"
install -D -m 644 packaging/deb/outpost.sysusers "$root/usr/lib/sysusers.d/outpost.conf"
install -D -m 644 -t "$root/usr/share/outpost/models" models/*
install -D -m 644 -t "$doc" README.md NOTICE packaging/deb/copyright
install -D -m 644 -t "$doc/docs" docs/*.md docs/*.png
# Credentials of the service: systemd reads them on its behalf, so only root needs to.
install -d -m 700 "$root/etc/outpost/secrets"
gzip -9 -n <CHANGELOG.md >"$doc/changelog.gz"
maintainer=$(sed -n 's/^Maintainer: //p' packaging/deb/control)
gzip -9 -n >"$doc/changelog.Debian.gz" <<END
outpost ($version) stable; urgency=medium

  * What changed is in changelog.gz.

 -- $maintainer  $(date --utc --date="@$SOURCE_DATE_EPOCH" +'%a, %d %b %Y %H:%M:%S %z')
END

control=$root/DEBIAN
mkdir "$control"
# dpkg-shlibdeps wants the control file of a source package; an empty one will do.
: >"$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O debian/outpost/usr/bin/outpost | sed -n 's/^shlibs:Depends=//p')
[ -n "$libraries" ] || die "dpkg-shlibdeps found no libraries"

size=$(du -s -k --apparent-size --exclude=DEBIAN "$root" | cut -f 1)
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@LIBRARIES@/$libraries/; s/@SIZE@/$size/" \
    packaging/deb/control >"$control/control"
echo /etc/outpost/outpost.toml >"$control/conffiles"
install -m 755 -t "$control" packaging/deb/{postinst,prerm,postrm}
(cd "$root" && find . -type f -not -path './DEBIAN/*' -not -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) \
    >"$control/md5sums"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

package=$out/outpost_${version}_$architecture.deb
dpkg-deb --root-owner-group "${compression[@]}" --build "$root" "$package" >&2
printf '%s\n' "$package"
