#!/bin/sh
# Turns the unpacked Debian into the lab's host; runs inside it (chroot).
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

# Permissions, as a checkout keeps none.
chown -R 0:0 /etc/ssh /root/.ssh /etc/fstab /etc/libvirt/qemu.conf
chmod 700 /root /root/.ssh
chmod 600 /root/.ssh/authorized_keys /etc/ssh/ssh_host_ed25519_key
rm -f /etc/ssh/ssh_host_rsa_key* /etc/ssh/ssh_host_ecdsa_key*

# An initramfs which is quick to make and to unpack under emulation.
if command -v dracut >/dev/null; then
    rm -rf /etc/initramfs-tools
    for kernel in /lib/modules/*; do
        release=${kernel##*/}
        dracut --quiet --force "/boot/initrd.img-$release" "$release"
    done
else
    rm -rf /etc/dracut.conf.d
    sed -i -e 's/^MODULES=.*/MODULES=list/' -e 's/^COMPRESS=.*/COMPRESS=zstd/' \
        /etc/initramfs-tools/initramfs.conf
    echo COMPRESSLEVEL=1 >>/etc/initramfs-tools/initramfs.conf
    # A quarter of the time, for what this host has no use for.
    for hook in dmsetup fsck keymap resume thermal; do
        rm -f "/usr/share/initramfs-tools/hooks/$hook"
    done
    update-initramfs -u -k all
fi

# GRUB, for the hosts that boot by themselves; assemble.sh puts it in place.
grub=/boot/grub/i386-pc
mkdir -p $grub
cp /usr/lib/grub/i386-pc/*.mod /usr/lib/grub/i386-pc/*.lst \
    /usr/lib/grub/i386-pc/boot.img $grub
grub-mkimage -O i386-pc -o $grub/core.img -p '(hd0,msdos1)/boot/grub' \
    biosdisk part_msdos ext2 normal configfile linux serial terminal

# The project's requirements; libvirt's binding is Debian's own.
python3 -m venv --system-site-packages /opt/gpu-passthrough
if [ -s /opt/lab/requirements.txt ]; then
    /opt/gpu-passthrough/bin/pip install --quiet --no-index --no-cache-dir \
        --disable-pip-version-check --find-links /opt/lab/wheels \
        --requirement /opt/lab/requirements.txt
fi
rm -rf /opt/lab/wheels
python3 -m compileall -q /usr/lib/python3 /usr/lib/python3.11 || true

# A quick boot: what a test never looks at does not start.
systemd-machine-id-setup >/dev/null 2>&1
usermod --shell /bin/sh root
systemctl enable --quiet systemd-networkd.service libvirtd.service
systemctl disable --quiet getty@tty1.service
systemctl mask --quiet \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    ldconfig.service libvirt-guests.service \
    systemd-binfmt.service systemd-networkd-wait-online.service \
    systemd-pstore.service systemd-random-seed.service \
    systemd-rfkill.service systemd-timesyncd.service \
    systemd-tmpfiles-clean.timer systemd-update-utmp.service
