#!/usr/bin/env bash
# Installs the Debian packages of one or more purposes, and nothing when they are there already.
# usage: debian.sh [update] build|deb|test|PACKAGE ...      update: look what the archive has now, in any case
set -euo pipefail
. "$(dirname "$0")/cache.sh"

# Linker and C parts (ring, bindgen's libclang), the libraries that the daemon links.
build=(gcc libc6-dev make pkg-config libclang-dev libsystemd-dev
    libavcodec-dev libavformat-dev libavutil-dev libswscale-dev)

# What makes a package of it.
deb=(binutils dpkg-dev)

# Real counterparts for the tests: an RTSP server, a broker, a browser, judges of clips; a machine to install on.
test=("${deb[@]}" age ffmpeg mosquitto mosquitto-clients openssl util-linux chromium systemd-container mmdebstrap
    libheif-examples libimage-exiftool-perl python3-pil
    qemu-system-x86 busybox-static cpio kmod v4l-utils e2fsprogs dmsetup fuse3 libfuse2 libfaketime dbus
    python3 python3-gi gir1.2-gst-rtsp-server-1.0
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly)

wanted=()
update=
for purpose in "$@"; do
    case $purpose in
        build) wanted+=("${build[@]}") ;;
        deb) wanted+=("${deb[@]}") ;;
        test) wanted+=("${test[@]}") ;;
        update) update=yes ;;
        *) wanted+=("$purpose") ;;
    esac
done

if ! command -v dpkg-query >/dev/null; then
    say "this is not Debian: make sure that you have what its packages ${wanted[*]} contain"
    exit 0
fi

missing=()
for package in "${wanted[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ -n "$update" ] || [ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "as root: apt-get update && apt-get install ${missing[*]}"
    as_root=(sudo)
fi
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q "$@"
}
apt update >&2
[ ${#missing[@]} -gt 0 ] || exit 0
say "Debian packages: ${missing[*]}"
apt install -y --no-install-recommends "${missing[@]}" >&2
