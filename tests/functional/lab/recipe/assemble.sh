#!/bin/sh
# assemble.sh DEBIAN.tar FILES OUT: Debian plus the tree FILES, configured,
# becomes OUT/disk.raw, OUT/vmlinuz and OUT/initrd.img.  Runs as (a user
# namespace's) root in a mount namespace of its own, so that whatever kills
# it takes its mounts along.
set -eu
debian=$1 files=$2 out=$3 root=$3/root

mkdir "$root"
tar -C "$root" -xf "$debian" --exclude='./dev/*'
cp -R "$files/." "$root/"

mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
env -i PATH="$PATH" chroot "$root" sh <"$(dirname "$0")/configure.sh"
umount -l "$root/proc" "$root/dev"

cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd.img"

# The gap of 1 MiB before the only partition is GRUB's.
truncate -s 6G "$out/disk.raw"
mke2fs -q -t ext4 -L root -m 0 -J size=16 -d "$root" \
    -E offset=1048576,lazy_itable_init=0,lazy_journal_init=0,nodiscard \
    "$out/disk.raw" $((6 * 1024 * 1024 - 1024))k
grub=$root/boot/grub/i386-pc
head -c 440 "$grub/boot.img" | dd of="$out/disk.raw" conv=notrunc status=none
dd if="$grub/core.img" of="$out/disk.raw" seek=1 conv=notrunc status=none
rm -rf "$root"
