"""Hosts that are odd in one way each, around one plain server."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.trees import software
from tests.trees.host import Host
from tests.trees.seed import seed

_MIB = 1 << 20
_KERNEL = "BOOT_IMAGE=/boot/vmlinuz root=/dev/nvme0n1p1 ro quiet"


def server(
    release: str = "6.1.0-18-amd64", *, amd: bool = False, iommu: bool = True
) -> Host:
    """A disk, a NIC and a BMC's display, each in a group of its own."""
    host = Host(release)
    vendor = "1022" if amd else "8086"
    host.function(
        "0000:00:00.0", f"{vendor}:1480", "060000", group=0 if iommu else None
    )
    port(host, "0000:00:01.0", "0000:01", 1 if iommu else None, vendor)
    drive = host.function(
        "0000:01:00.0", "144d:a80a", "010802", under="0000:00:01.0",
        group=10 if iommu else None, driver="nvme", bars=(16384,),
        reset="flr bus",
    )  # fmt: skip
    port(host, "0000:00:02.0", "0000:02", 2 if iommu else None, vendor)
    wire = host.function(
        "0000:02:00.0", "14e4:165f", "020000", under="0000:00:02.0",
        group=11 if iommu else None, driver="tg3", bars=(65536, 65536),
        reset="pm bus",
    )  # fmt: skip
    port(host, "0000:00:03.0", "0000:03", 3 if iommu else None, vendor)
    host.function(
        "0000:03:00.0", "1a03:2000", "030000", under="0000:00:03.0",
        group=12 if iommu else None, driver="ast", bars=(16 * _MIB, 131072),
        vga=True, reset="pm",
    )  # fmt: skip
    disk = software.disk(host, f"{drive}/nvme/nvme0", "nvme0n1", "259:0")
    software.disk(host, disk, "nvme0n1p1", "259:1")
    software.mounts(host, {"/": ("259:1", "/dev/nvme0n1p1", "ext4")})
    software.swaps(host)
    software.nic(host, wire, "eno1", 2)
    software.routes(host, ["eno1"], ["eno1"])
    _firmware(host, amd, iommu)
    software.sockets(host, ["0-31"])
    software.consoles(host, "tty0", "ttyS0")
    software.aliases(
        host,
        {
            "pci:v000010DEd*sv*sd*bc03sc*i*": "nouveau",
            "pci:v00001002d*sv*sd*bc03sc*i*": "amdgpu",
            "pci:v*d*sv*sd*bc04sc03i00*": "snd_hda_intel",
            "pci:v*d*sv*sd*bc0Csc03i30*": "xhci_pci",
            "pci:v000010DEd*sv*sd*bc0Csc80i00*": "i2c_nvidia_gpu",
        },
    )
    return host


def _firmware(host: Host, amd: bool, iommu: bool) -> None:
    table, unit = ("IVRS", "ivhd0") if amd else ("DMAR", "dmar0")
    cpu = "AuthenticAMD" if amd else "GenuineIntel"
    argument = "" if amd else " intel_iommu=on"
    software.firmware(
        host,
        cpu,
        f"{_KERNEL}{argument} iommu=pt",
        ["APIC", "DSDT", "FACP", "MCFG", *([table] if iommu else [])],
        [unit] if iommu else [],
    )


def port(
    host: Host, address: str, below: str, group: int | None, vendor: str
) -> None:
    """Add a root port with a bus behind it."""
    host.function(
        address, f"{vendor}:1483", "060400", group=group, driver="pcieport",
        below=below, reset="pm",
    )  # fmt: skip


def card(host: Host, bus: str, under: str, group: int | None) -> None:
    """Add an RTX A4000 and its audio function."""
    host.function(
        f"{bus}:00.0", "10de:24b0", "030000", under=under, group=group,
        driver="nouveau", subsystem="10de:14ad", revision=0xA1,
        bars=(16 * _MIB, 256 * _MIB, 32 * _MIB, 128), vga=False,
        reset="flr bus",
    )  # fmt: skip
    host.function(
        f"{bus}:00.1", "10de:228b", "040300", under=under, group=group,
        driver="snd_hda_intel", subsystem="10de:14ad", revision=0xA1,
        bars=(16384,),
    )  # fmt: skip


def firmware_off() -> Host:
    """Intel, ``intel_iommu=on``, and VT-d off in the firmware."""
    host = server(iommu=False)
    port(host, "0000:00:04.0", "0000:04", None, "8086")
    card(host, "0000:04", "0000:00:04.0", None)
    return host


def shared_group() -> Host:
    """Two cards behind one PCI bridge, all three in group 20; one alone."""
    host = server()
    port(host, "0000:00:04.0", "0000:04", 4, "8086")
    host.function(
        "0000:04:00.0", "1b36:000e", "060400", under="0000:00:04.0",
        group=20, below="0000:05",
    )  # fmt: skip
    for slot, number in (("01", "10de:1430"), ("02", "10de:1431")):
        for function, ids, code in (
            (0, number, "030000"),
            (1, "10de:0fba", "040300"),
        ):
            host.function(
                f"0000:05:{slot}.{function}", ids, code,
                under="0000:04:00.0", group=20, bars=(16 * _MIB,),
                vga=None if function else False, reset="bus",
            )  # fmt: skip
    port(host, "0000:00:05.0", "0000:06", 5, "8086")
    card(host, "0000:06", "0000:00:05.0", 21)
    return host


def wide_domain() -> Host:
    """Intel's VMD: a disk and a card in PCI domain 10000."""
    host = server()
    host.function(
        "0000:00:0e.0", "8086:467f", "010400", group=6, driver="vmd",
        bars=(32 * _MIB, 32 * _MIB, _MIB),
    )  # fmt: skip
    for address, root_bus, below, group in (
        ("10000:e0:06.0", "10000:e0", "10000:e1", 6),
        ("10000:e0:07.0", "10000:e0", "10000:e2", 6),
    ):
        host.function(
            address, "8086:09ab", "060400", under="0000:00:0e.0",
            root_bus=root_bus, group=group, below=below, driver="pcieport",
        )  # fmt: skip
    drive = host.function(
        "10000:e1:00.0", "144d:a80a", "010802", under="10000:e0:06.0",
        group=6, driver="nvme", bars=(16384,), reset="flr bus",
    )  # fmt: skip
    card(host, "10000:e2", "10000:e0:07.0", 6)
    software.disk(host, f"{drive}/nvme/nvme1", "nvme1n1", "259:2")
    software.mounts(
        host,
        {
            "/": ("259:1", "/dev/nvme0n1p1", "ext4"),
            "/srv": ("259:2", "/dev/nvme1n1", "xfs"),
        },
    )
    return host


def dead_card() -> Host:
    """A card whose config space reads all ones."""
    host = server()
    port(host, "0000:00:04.0", "0000:04", 4, "8086")
    for function, ids, code in (
        (0, "1002:67df", "030000"),
        (1, "1002:aaf0", "040300"),
    ):
        host.function(
            f"0000:04:00.{function}", ids, code, under="0000:00:04.0",
            group=20, driver="vfio-pci", subsystem="1da2:e353",
            revision=0xE7, bars=(256 * _MIB,), reset="bus", is_dead=True,
            vga=None if function else False,
        )  # fmt: skip
    return host


def virtual_functions() -> Host:
    """A card and a NIC with SR-IOV; two of the NIC's functions enabled."""
    host = server()
    port(host, "0000:00:04.0", "0000:04", 4, "8086")
    host.function(
        "0000:04:00.0", "8086:56c0", "038000", under="0000:00:04.0",
        group=20, driver="i915", revision=0x08, bars=(16 * _MIB, 256 * _MIB),
        vfs=(31, 0), reset="flr bus",
    )  # fmt: skip
    port(host, "0000:00:05.0", "0000:05", 5, "8086")
    host.function(
        "0000:05:00.0", "15b3:1017", "020000", under="0000:00:05.0",
        group=21, driver="mlx5_core", bars=(32 * _MIB,), vfs=(8, 2),
        reset="flr bus",
    )  # fmt: skip
    for function in (1, 2):
        host.function(
            f"0000:05:00.{function}", "15b3:1018", "020000",
            under="0000:00:05.0", group=21 + function, bars=(_MIB,),
            physical="0000:05:00.0", reset="flr",
        )  # fmt: skip
    return host


def four_functions() -> Host:
    """An RTX 2080: display, audio, USB host and UCSI in one group."""
    host = server()
    port(host, "0000:00:04.0", "0000:04", 4, "8086")
    for function, ids, code, driver in (
        (0, "10de:1e87", "030000", "nouveau"),
        (1, "10de:10f8", "040300", "snd_hda_intel"),
        (2, "10de:1ad8", "0c0330", "xhci_hcd"),
        (3, "10de:1ad9", "0c8000", "nvidia-gpu"),
    ):
        host.function(
            f"0000:04:00.{function}", ids, code, under="0000:00:04.0",
            group=20, driver=driver, subsystem="10de:1e87", revision=0xA1,
            bars=(16 * _MIB,), vga=None if function else False,
            reset="flr bus" if function == 0 else None,
        )  # fmt: skip
    return host


def amd() -> Host:
    """An AMD host with a Radeon behind its own switch, group 20 and 21."""
    host = server(amd=True)
    port(host, "0000:00:04.0", "0000:04", 4, "1022")
    host.function(
        "0000:04:00.0", "1002:1478", "060400", under="0000:00:04.0",
        group=18, driver="pcieport", below="0000:05",
    )  # fmt: skip
    host.function(
        "0000:05:00.0", "1002:1479", "060400", under="0000:04:00.0",
        group=19, driver="pcieport", below="0000:06",
    )  # fmt: skip
    for function, ids, code, driver in (
        (0, "1002:73bf", "030000", "amdgpu"),
        (1, "1002:ab28", "040300", "snd_hda_intel"),
    ):
        host.function(
            f"0000:06:00.{function}", ids, code, under="0000:05:00.0",
            group=20 + function, driver=driver, subsystem="1eae:6701",
            revision=0xC1, bars=(16384 * _MIB, 256 * _MIB), node=0,
            vga=None if function else False,
            reset="device_specific bus" if function == 0 else None,
        )  # fmt: skip
    return host


HOSTS: Mapping[str, Callable[[], Host]] = {
    "amd": amd,
    "dead-card": dead_card,
    "firmware-off": firmware_off,
    "four-functions": four_functions,
    "seed": seed,
    "shared-group": shared_group,
    "virtual-functions": virtual_functions,
    "wide-domain": wide_domain,
}
"""Every described host by the name of its recording."""
