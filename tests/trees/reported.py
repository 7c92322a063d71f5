"""Small hosts of public reports, written as a line a function.

Names, serials and addresses of networks are none of the reporters'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.trees import boot, config_space, software
from tests.trees.host import Host

RELEASE = "6.8.0-52-generic"
_CPUS = {
    "intel": ("vendor_id\t: GenuineIntel\n", "DMAR", "dmar0"),
    "amd": ("vendor_id\t: AuthenticAMD\n", "IVRS", "ivhd0"),
    "arm": ("CPU implementer\t: 0x41\n", "IORT", "smmu3.0x1"),
    "power": ("cpu\t\t: POWER9, altivec supported\n", "", "iommu"),
}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def host(
    functions: str,
    *,
    cpu: str = "intel",
    release: str = RELEASE,
    arguments: str = "",
    iommu: bool = True,
    tables: Iterable[str] | None = None,
    iommus: Iterable[str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
    links: Mapping[str, str] | None = None,
    consoles: Iterable[str] = ("tty0", "ttyS0"),
) -> Host:
    """A host without disks and networks of its own, until some are added.

    Each line of ``functions`` is an address, the class and the ids, such as
    ``01:00.0 0300 10de:2bb5``, and then any of ``group=1``,
    ``driver=nouveau``, ``under=00:01.0`` (the port above, on a line before),
    ``below=01`` (the bus behind a bridge), ``vga=1`` (boot_vga),
    ``reset=flr,bus``, ``bars=16M,256G``, ``vfs=32/4`` (total and enabled),
    ``physical=01:00.0`` (of a virtual function), ``node=0``,
    ``override=vfio-pci``, ``dead``, and for a port of PCI Express
    ``port=4`` (its kind: 4 root, 5 upstream, 6 downstream) or with Access
    Control Services ``port=6/1d/0`` (capability and control).

    :param iommu: whether the firmware has the table and an IOMMU runs, where
        ``tables`` and ``iommus`` do not say.
    :param files: further files of the host, by path without the first slash.
    """
    made = Host(release)
    for line in functions.splitlines():
        words = line.split("#")[0].split()
        if words:
            _function(made, words)
    line, table, name = _CPUS[cpu]
    made.file("proc/cpuinfo", f"processor\t: 0\n{line}")
    made.file("proc/cmdline", f"BOOT_IMAGE=/vmlinuz ro {arguments}\n")
    own = [table] if iommu and table else []
    for each in ["FACP", "MCFG", *(own if tables is None else tables)]:
        made.folder(f"sys/firmware/acpi/tables/{each}")
    made.folder("sys/class/iommu")
    for each in ([name] if iommu else []) if iommus is None else iommus:
        made.device(f"iommu/{each}", "iommu")
    software.mounts(made, {})
    software.swaps(made)
    software.routes(made, [])
    software.consoles(made, *consoles)
    software.sockets(made, ["0-15"])
    for path, contents in (files or {}).items():
        made.file(path, contents)
    for path, text in (links or {}).items():
        made.link(path, text)
    return made


def debian(made: Host, words: str = "quiet") -> Host:
    """The same with the boot files of Debian: GRUB and initramfs-tools."""
    boot.os_release(made, id="debian", version_id="12")
    boot.kernel(made, made.release, f"initrd.img-{made.release}")
    boot.tools(
        made, "usr/bin/lsinitramfs", "usr/sbin/grub-mkconfig",
        "usr/sbin/mkinitramfs", "usr/sbin/update-grub",
        "usr/sbin/update-initramfs",
    )  # fmt: skip
    made.file("etc/initramfs-tools/initramfs.conf", "MODULES=most\n")
    made.file("etc/initramfs-tools/modules", "# modules\n")
    made.file("etc/modules", "# /etc/modules\n")
    made.file(
        "etc/default/grub",
        f'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="{words}"\n'
        'GRUB_CMDLINE_LINUX=""\n',
    )
    made.file(
        "boot/grub/grub.cfg",
        boot.menu("Debian", [(f"/boot/vmlinuz-{made.release}", words)]),
    )
    return made


def _function(made: Host, words: list[str]) -> None:
    place, code, ids, *rest = words
    # ``Any``: keywords of a method, which checks them.
    fields: dict[str, Any] = {}
    for word in rest:
        name, _, value = word.partition("=")
        fields |= _field(name, value)
    made.function(_whole(place), ids, code.ljust(6, "0"), **fields)


def _field(name: str, value: str) -> dict[str, Any]:
    if name in ("group", "node"):
        return {name: int(value)}
    if name in ("under", "physical"):
        return {name: _whole(value)}
    if name == "below":
        return {name: f"0000:{value}"}
    if name == "reset":
        return {name: value.replace(",", " ")}
    if name == "vga":
        return {name: value == "1"}
    if name == "vfs":
        total, _, enabled = value.partition("/")
        return {name: (int(total), int(enabled))}
    if name == "bars":
        return {name: tuple(map(_bytes, value.split(",")))}
    if name == "port":
        kind, *acs = (int(number, 16) for number in value.split("/"))
        pair = (acs[0], acs[1]) if acs else None
        return {"more": {"config": config_space.port(kind, pair)}}
    if name == "dead":
        return {"is_dead": True}
    assert name in ("driver", "override", "root_bus"), name
    return {name: value}


def _bytes(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]


def _whole(place: str) -> str:
    return place if place.count(":") == 2 else f"0000:{place}"
