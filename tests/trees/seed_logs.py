"""What the seed shows of the kernel's log, letter by letter."""

from __future__ import annotations

_COMMAND_LINE = (
    "BOOT_IMAGE=/vmlinuz-3.10.0-514.el7.x86_64 root=/dev/mapper/centos-root"
    " ro crashkernel=auto rd.lvm.lv=centos/root rd.lvm.lv=centos/swap rhgb"
    " quiet rd.driver.pre=vfio-pci intel_iommu=on"
)

SUCCESS = f"""\
[ 0.000000] Command line: {_COMMAND_LINE}
[ 0.000000] Kernel command line: {_COMMAND_LINE}
[ 8.362177] VFIO - User Level meta-driver version: 0.3
[ 8.367249] vfio_pci: add [10de:1430[ffff:ffff]] class 0x000000/00000000
[ 8.367314] vfio_pci: add [10de:0fba[ffff:ffff]] class 0x000000/00000000
[ 2144.638305] vfio-pci 0000:06:00.0: enabling device (0000 -> 0003)
[ 2144.638464] vfio_ecap_init: 0000:06:00.0 hiding ecap 0x1e@0x258
[ 2144.638479] vfio_ecap_init: 0000:06:00.0 hiding ecap 0x19@0x900
"""

FAILURE = f"""\
[ 0.000000] Command line: {_COMMAND_LINE}
[ 0.000000] Kernel command line: {_COMMAND_LINE}
[ 19.034596] vfio-pci: probe of 0000:06:00.0 failed with error -22
[ 19.034636] vfio-pci: probe of 0000:82:00.0 failed with error -22
[ 19.034654] vfio-pci: probe of 0000:83:00.0 failed with error -22
[ 19.034661] vfio_pci: add [10de:1430[ffff:ffff]] class 0x000000/00000000
"""
