"""Binding by address: exactly the selected functions, and no twin.

An early script does it, in the initramfs.  It runs where there is little: in
the shell of klibc, busybox, dash or bash, sourced or not, with nothing but
what is built in, and ``modprobe``.
"""

from __future__ import annotations

import shlex
import string
from collections.abc import Sequence

from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.binding import conflicts
from gpu_passthrough_plugin.enablement.driver import (
    BindingCase,
    BindingDriver,
    BindingPlan,
    InitramfsContent,
)
from gpu_passthrough_plugin.enablement.own_files import OwnFile
from gpu_passthrough_plugin.formats import modprobe
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change_history import Target

# Source: Linux, Documentation/ABI/testing/sysfs-bus-pci (driver_override,
# drivers_probe, unbind) and dev-kmsg (the level in <>).
_TEXT = string.Template("""\
# Addresses move when cards are added or removed: a function that is not what
# it was when the host was enabled is left alone.
gpupt_pci=$sysfs/bus/pci
gpupt_taken=

# LEVEL TEXT: writes a line to the kernel's log.
gpupt_say() {
    echo "<$$1>gpu-passthrough: $$2" 2>/dev/null >>$kmsg || :
}

# ADDRESS IDS: reserves a function for vfio-pci.
gpupt_take() {
    gpupt_at=$$gpupt_pci/devices/$$1
    gpupt_vendor=
    gpupt_device=
    if [ -r "$$gpupt_at/vendor" ] && [ -r "$$gpupt_at/device" ]; then
        read -r gpupt_vendor <"$$gpupt_at/vendor" || :
        read -r gpupt_device <"$$gpupt_at/device" || :
    fi
    if ! [ -e "$$gpupt_at" ]; then
        gpupt_say 4 "$$1 is not present"
    elif [ "$$gpupt_vendor:$$gpupt_device" != "$$2" ]; then
        gpupt_say 4 "$$1 is $$gpupt_vendor:$$gpupt_device and was $$2:\
 left alone; run 'gpu-passthrough host enable' again"
    elif ! [ -e "$$gpupt_at/driver_override" ]; then
        gpupt_say 3 "$$1 is left alone: this kernel has no driver_override"
    elif ! echo vfio-pci >"$$gpupt_at/driver_override"; then
        gpupt_say 3 "$$1 is left alone: its driver_override is not writable"
    else
        gpupt_taken="$$gpupt_taken $$1"
        gpupt_free "$$1"
    fi
}

# ADDRESS: unbinds a function from a driver that is built in.
gpupt_free() {
    for gpupt_driver in "$$gpupt_pci"/drivers/*; do
        if [ "$${gpupt_driver##*/}" = vfio-pci ] ||
            ! [ -e "$$gpupt_driver/$$1" ]; then
            continue
        fi
        if echo "$$1" >"$$gpupt_driver/unbind"; then
            gpupt_say 5 "$$1 was unbound from $${gpupt_driver##*/}"
        else
            gpupt_say 3 "$$1 cannot be unbound from $${gpupt_driver##*/}"
        fi
    done
}

# ADDRESS: binds a function to vfio-pci.
gpupt_bind() {
    echo "$$1" >"$$gpupt_pci/drivers_probe" || :
    if [ -e "$$gpupt_pci/drivers/vfio-pci/$$1" ]; then
        gpupt_say 5 "$$1 is on vfio-pci"
    else
        gpupt_say 3 "$$1 is not on vfio-pci: the driver did not bind it"
    fi
}

$takes
if [ -n "$$gpupt_taken" ]; then
    # Every function is reserved by now: loading binds these, and no other.
    if ! [ -e "$$gpupt_pci/drivers/vfio-pci" ]; then
        modprobe vfio-pci || gpupt_say 3 "vfio-pci cannot be loaded"
    fi
    for gpupt_address in $$gpupt_taken; do
        gpupt_bind "$$gpupt_address"
    done
fi

unset gpupt_pci gpupt_taken gpupt_at gpupt_vendor gpupt_device \\
    gpupt_driver gpupt_address
unset -f gpupt_say gpupt_take gpupt_free gpupt_bind
""")


def script(
    targets: Sequence[Target], sysfs: str = "/sys", kmsg: str = "/dev/kmsg"
) -> str:
    """Return the early script for exactly these functions.

    :param sysfs: where sysfs is mounted, and ``kmsg`` the kernel's log;
        both are part of the text, which reads no variable of the boot.
    """
    takes = "\n".join(
        f"gpupt_take {t.address} 0x{t.vendor_id:04x}:0x{t.product_id:04x}"
        for t in targets
    )
    return own_files.HEADER + _TEXT.substitute(
        sysfs=shlex.quote(sysfs), kmsg=shlex.quote(kmsg), takes=takes
    )


class AddressBinding(BindingDriver):
    """An early script sets ``driver_override`` of each function."""

    name = "address"
    reads = modprobe.READS

    def plan(self, case: BindingCase) -> BindingPlan:
        conflicts.refuse_unidentified(case)
        conflicts.refuse_captured(case)
        # Of a binding by ids that this one replaces.
        changes = own_files.writes(
            case.installation,
            OwnFile("bind by ids", own_files.MODPROBE, None),
        )
        early = InitramfsContent(script(case.targets), own_files.MODULES)
        return BindingPlan(changes, Requirements(), early)
