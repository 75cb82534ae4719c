#!/usr/bin/env bash
# Makes the machine that tests boot: Debian's newest kernel with the drivers that containers and other
# people's machines lack, v4l2loopback, and a root file system in memory that starts tests/vm/init.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"

init=$here/../../tests/vm/init
# Shared folders, drives and a network card; cameras; drives that lose what was not flushed.
modules=(virtio_pci 9pnet_virtio 9p virtio_blk virtio_net ext4 vivid dm-flakey dm-log-writes)

if [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ]; then
    say "no machine for tests with a kernel of their own: that one is made of Debian's packages for amd64"
    exit 0
fi

lock vm
vm=$OUTPOST_CACHE/vm
kernel=$vm/kernel
kernel_state=$(fingerprint "$here/vm.sh")
state=$(fingerprint "$kernel_state" "$init")
[ "$(cat "$vm/.state" 2>/dev/null)" != "$state" ] || exit 0

work=$(mktemp -d "$OUTPOST_CACHE/vm.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

# The archive keeps only the newest kernel, under a name that changes; what was fetched once stays in use.
fetch_kernel() {
    local release module file
    "$here/debian.sh" update
    release=$(LC_ALL=C apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: linux-image-\([^ ]*\).*/\1/p' | head -n 1)
    [ -n "$release" ] || die "the archive has no linux-image-amd64"
    say "Linux $release and v4l2loopback into $vm"
    "$here/debian.sh" "linux-headers-$release"
    (cd "$work" && apt-get -q download "linux-image-$release" v4l2loopback-dkms >&2)
    for file in "$work"/*.deb; do dpkg-deb -x "$file" "$work/root"; done

    mkdir "$work/loopback"
    cp "$work"/root/usr/src/v4l2loopback-*/*.[ch] "$work/loopback/"
    printf 'obj-m := v4l2loopback.o\n' >"$work/loopback/Kbuild"
    make --no-print-directory -C "/usr/src/linux-headers-$release" M="$work/loopback" modules >"$work/loopback.log" 2>&1 ||
        die "v4l2loopback does not build for $release: $(cat "$work/loopback.log")"
    install -D -t "$work/root/lib/modules/$release/extra" "$work/loopback/v4l2loopback.ko"
    depmod -b "$work/root" "$release"

    mkdir -p "$work/kernel"
    cp "$work/root/boot/vmlinuz-$release" "$work/kernel/vmlinuz"
    for module in "${modules[@]}" v4l2loopback; do
        modprobe -d "$work/root" -S "$release" --show-depends "$module" >"$work/needed" || die "Linux $release has no $module"
        # Options, and what the kernel has built in, are listed too.
        sed -n "s|^insmod $work/root/\([^ ]*\).*|\1|p" "$work/needed"
    done | sort -u | (cd "$work/root" && cpio --quiet -pdm "$work/kernel/root")
    cp "$work/root/lib/modules/$release"/modules.{builtin,builtin.modinfo,order} "$work/kernel/root/lib/modules/$release/"
    depmod -b "$work/kernel/root" "$release"
    printf '%s\n' "$kernel_state" >"$work/kernel/.state"
    mkdir -p "$vm"
    rm -rf "$kernel"
    mv "$work/kernel" "$kernel"
}

[ "$(cat "$kernel/.state" 2>/dev/null)" = "$kernel_state" ] || fetch_kernel

mkdir -p "$work/ram/bin"
cp -a "$kernel/root/." "$work/ram/"
cp /bin/busybox "$work/ram/bin/busybox"
install "$init" "$work/ram/init"
(cd "$work/ram" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$work/initramfs"
mv "$work/initramfs" "$vm/initramfs"
printf '%s\n' "$state" >"$vm/.state"
