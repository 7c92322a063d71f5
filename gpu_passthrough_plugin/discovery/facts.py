"""What a host is beyond its PCI functions.

CPU, kernel, firmware, identity, and what the kernel says of IOMMU groups.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpu_passthrough_plugin.discovery import host_dependencies, hypervisor
from gpu_passthrough_plugin.discovery.hypervisor import CPUINFO
from gpu_passthrough_plugin.discovery.modules import OSRELEASE
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import kernel_cmdline, sysfs_path
from gpu_passthrough_plugin.model import budget, fabric
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.group import GroupAttributes, ReservedRegion
from gpu_passthrough_plugin.model.host_facts import CpuVendor, HostFacts
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why, decoded

# Hygon's are AMD's by licence, their IOMMU included.
# Source: Linux, arch/x86/kernel/cpu (``c_ident`` of each).
_VENDORS = {
    "GenuineIntel": CpuVendor.INTEL,
    "AuthenticAMD": CpuVendor.AMD,
    "HygonGenuine": CpuVendor.AMD,
}
# What tells the kind of CPU: on x86 and s390, on Arm; on POWER, RISC-V,
# LoongArch and MIPS.  Source: Linux, arch/*/kernel (show_cpuinfo).
_CPU_LINES = frozenset(
    {"vendor_id", "CPU implementer", "cpu", "isa", "CPU Family", "system type"}
)
# Folders among the tables.  Source: Linux, drivers/acpi/sysfs.c.
_NO_TABLES = frozenset({"data", "dynamic"})
_MACHINE_ID = "etc/machine-id"
_ID = re.compile(r"[0-9a-f]{32}")
_PROJECT = b"gpu-passthrough"
_ADDRESS_SIZES = re.compile(r": ([0-9]{2}) bits physical")
_NODES = "sys/devices/system/node"
_FABRIC_MODE = re.compile(
    r"^[ \t]*FABRIC_MODE[ \t]*=[ \t]*(.*?)[ \t\r]*$", re.M
)
_BOARD = "sys/firmware/devicetree/base/model"
_CONNECTORS = "sys/class/drm"
_GROUPS = "sys/kernel/iommu_groups"
# A group has a handful; a fabricated list is cut off.
_MOST_GROUP_BYTES = 1 << 16


def facts(tree: Tree) -> HostFacts:
    """Return the host's facts; what could not be read is ``Unknown``."""
    return HostFacts(
        cpu_vendor=cpu_vendor(tree),
        kernel_release=text(tree, OSRELEASE),
        kernel_arguments=_arguments(text(tree, "proc/cmdline")),
        acpi_tables=_tables(tree.names("sys/firmware/acpi/tables")),
        iommus=tree.names("sys/class/iommu"),
        uses=host_dependencies.uses(tree),
        consoles=_words(text(tree, "sys/class/tty/console/active")),
        sockets=_sockets(tree),
        hypervisor=hypervisor.hypervisor(tree),
        board=_board(tree.read(_BOARD)),
        fabric_mode=_fabric_mode(text(tree, fabric.MANAGER_PATH.lstrip("/"))),
        address_bits=address_bits(tree),
        monitors=_monitors(tree),
    )


def _monitors(tree: Tree) -> frozenset[Address]:
    """Return the functions with an output that a monitor is connected to.

    None where a driver has the display that the firmware used: it is known
    then which one that is.

    Source: Linux, drivers/gpu/drm/drm_sysfs.c (``status_show``); connectors
    are named such as ``card1-eDP-1``.
    """
    names = tree.names(_CONNECTORS)
    addresses: set[Address] = set()
    for name in () if isinstance(names, Unknown) else names:
        folder = f"{_CONNECTORS}/{name}"
        path = tree.real(folder)
        if isinstance(path, Unknown):
            continue
        if text(tree, f"{path.partition('/drm/')[0]}/boot_vga") == "1":
            return frozenset()
        if "-" in name and text(tree, f"{folder}/status") == "connected":
            addresses.update(sysfs_path.endpoints(path)[-1:])
    return frozenset(addresses)


def _board(data: bytes | Unknown) -> str | None:
    """Return the device tree's name of a board, such as ``Raspberry Pi 5``."""
    return None if isinstance(data, Unknown) else decoded(data).rstrip("\0")


def _fabric_mode(config: str | Unknown) -> int | Unknown | None:
    """Return the last ``FABRIC_MODE`` of Fabric Manager's configuration.

    Source: NVIDIA, Fabric Manager User Guide: 0 where nothing sets it.
    """
    if isinstance(config, Unknown):
        return None if config == MISSING else config
    values = _FABRIC_MODE.findall(config) or ["0"]
    if not re.fullmatch(r"[0-9]{1,3}", values[-1]):
        return Unknown(Why.MALFORMED, f"FABRIC_MODE={values[-1]}")
    return int(values[-1])


def boot_id(tree: Tree) -> str | Unknown:
    """Return the id of the running boot, which no other boot has."""
    return text(tree, "proc/sys/kernel/random/boot_id")


def _arguments(line: str | Unknown) -> tuple[str, ...] | Unknown:
    if isinstance(line, Unknown):
        return line
    if len(line) > budget.MAX_CMDLINE_BYTES:
        return Unknown(Why.MALFORMED, f"{len(line)} characters long")
    return kernel_cmdline.split(line)


def _words(line: str | Unknown) -> tuple[str, ...] | Unknown:
    return line if isinstance(line, Unknown) else tuple(line.split())


def _tables(names: tuple[str, ...] | Unknown) -> frozenset[str] | Unknown:
    if isinstance(names, Unknown):
        return names
    return frozenset(names) - _NO_TABLES


def cpu_vendor(tree: Tree) -> CpuVendor | Unknown:
    """Return the maker of the CPU, which decides the kind of IOMMU."""
    data = tree.read(CPUINFO, hypervisor.CPUINFO_BYTES)
    if isinstance(data, Unknown):
        return data
    line = cpu_line(data)
    if line is None:
        return Unknown(Why.MALFORMED, f"no vendor_id in {CPUINFO}")
    key, _, value = line.partition(":")
    if key.strip() == "CPU implementer":
        return CpuVendor.ARM
    if key.strip() != "vendor_id":
        return CpuVendor.OTHER
    return _VENDORS.get(value.strip(), CpuVendor.OTHER)


def cpu_lines(cpuinfo: bytes) -> list[str]:
    """Return what of ``/proc/cpuinfo`` is used.

    The maker, one flag, and how wide addresses are.
    """
    lines = (
        cpu_line(cpuinfo),
        hypervisor.flags_line(cpuinfo),
        _first_line(cpuinfo, "address sizes"),
    )
    return [line for line in lines if line is not None]


def cpu_line(cpuinfo: bytes) -> str | None:
    """Return the line of ``/proc/cpuinfo`` that names the CPU's maker."""
    return _first_line(cpuinfo, *_CPU_LINES)


def _first_line(cpuinfo: bytes, *keys: str) -> str | None:
    for line in decoded(cpuinfo).split("\n"):
        if line.partition(":")[0].strip() in keys:
            return line
    return None


def address_bits(tree: Tree) -> int | Unknown:
    """Return how many bits a physical address of the CPU has.

    Source: Linux, arch/x86/kernel/cpu/proc.c (``address sizes``).
    """
    data = tree.read(CPUINFO, hypervisor.CPUINFO_BYTES)
    if isinstance(data, Unknown):
        return data
    line = _first_line(data, "address sizes")
    if line is None:
        return MISSING
    match = _ADDRESS_SIZES.search(line)
    return int(match[1]) if match else Unknown(Why.MALFORMED, line)


def _sockets(tree: Tree) -> Mapping[int, int] | Unknown:
    """Return the CPU socket of each NUMA node, by its first CPU.

    A node without CPUs has none.
    """
    names = tree.names(_NODES)
    if isinstance(names, Unknown):
        return names
    sockets = {}
    for name in names:
        number = name.removeprefix("node")
        if name == number or not number.isdecimal():
            continue
        socket = _socket(tree, name)
        if isinstance(socket, Unknown):
            return socket
        if socket is not None:
            sockets[int(number)] = socket
    return sockets or MISSING


def _socket(tree: Tree, node: str) -> int | Unknown | None:
    """Return a node's CPU socket; None for a node of memory only."""
    cpus = text(tree, f"{_NODES}/{node}/cpulist")
    if isinstance(cpus, Unknown):
        return cpus
    first = cpus.replace("-", ",").partition(",")[0]
    if not first:
        return None
    topology = f"sys/devices/system/cpu/cpu{first}/topology"
    socket = text(tree, f"{topology}/physical_package_id")
    if isinstance(socket, Unknown):
        return socket
    try:
        # The kernel shows -1 where the firmware does not say.
        return int(socket) if int(socket) >= 0 else MISSING
    except ValueError:
        return Unknown(Why.MALFORMED, socket)


def machine_identity(tree: Tree) -> str | Unknown:
    """Return 64 digits that identify this installation and no other.

    Derived from the machine id, which is not to be shown to others.
    Source: systemd, machine-id(5), sd_id128_get_machine_app_specific(3).
    """
    machine_id = text(tree, _MACHINE_ID)
    if isinstance(machine_id, Unknown):
        return machine_id
    if not _ID.fullmatch(machine_id):
        # Such as "uninitialized", before the first boot is over.
        return Unknown(Why.MALFORMED, f"no id in {_MACHINE_ID}")
    import hmac  # takes longer than reading a small host's groups

    return hmac.digest(bytes.fromhex(machine_id), _PROJECT, "sha256").hex()


def group_attributes(tree: Tree, number: int) -> GroupAttributes:
    """Return the attributes of the group with that number."""
    folder = f"{_GROUPS}/{number}"
    name = tree.read(f"{folder}/name", _MOST_GROUP_BYTES)
    regions = tree.read(f"{folder}/reserved_regions", _MOST_GROUP_BYTES)
    return GroupAttributes(_group_name(name), _regions(regions))


def _group_name(data: bytes | Unknown) -> str | Unknown | None:
    if data is MISSING:
        return None
    return data if isinstance(data, Unknown) else decoded(data)


def _regions(
    data: bytes | Unknown,
) -> tuple[ReservedRegion, ...] | Unknown:
    """Return regions from lines of first address, last address and kind."""
    if isinstance(data, Unknown):
        return data
    regions = []
    for line in decoded(data).splitlines():
        try:
            first, last, kind = line.split()
            regions.append(ReservedRegion(int(first, 16), int(last, 16), kind))
        except ValueError:
            return Unknown(Why.MALFORMED, line)
    return tuple(regions)
