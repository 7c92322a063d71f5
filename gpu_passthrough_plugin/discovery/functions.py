"""The PCI functions of a host: a listing, and details of one function."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import (
    function_bars,
    function_identity,
    modules,
)
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.formats import (
    chroot_path,
    pci_config,
    sysfs_path,
)
from gpu_passthrough_plugin.formats.pci_config import Port
from gpu_passthrough_plugin.model import address as addresses
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import (
    BRIDGE_BASE_CLASS,
    VFIO_PCI,
    Detail,
    Function,
    Header,
    PhysicalFunction,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why, decoded

DEVICES = "sys/bus/pci/devices"

# PCI-to-PCI and CardBus: the kernel clears the class of a function whose
# header type is not a bridge's although it says so.
# Source: Linux, drivers/pci/probe.c (pci_setup_device).
_BRIDGE_CLASSES = frozenset({0x0604, 0x0607})

# Source: Linux, drivers/pci/probe.c (``%04x:%02x:%02x.%d``).
_NAME = re.compile(
    r"([0-9a-f]{4}|[1-9a-f][0-9a-f]{4,7}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])"
)
_FILES = ("uevent", "numa_node")
_LINKS = ("iommu_group",)


def functions(tree: Tree) -> tuple[Function, ...]:
    """Return every function, by address, with what a listing shows.

    Reads two small files and a link each: a host may have thousands.

    :raises ReadFailed: when the tree has no PCI bus, or names on it that
        no kernel writes.
    """
    names = tree.names(DEVICES)
    if isinstance(names, Unknown):
        raise errors.ReadFailed(
            f"{tree} has no {DEVICES} ({names}); expected the files of a"
            " Linux host: give their root with --root, or a --recording"
        )
    return named(tree, names)


def named(tree: Tree, names: Iterable[str]) -> tuple[Function, ...]:
    """Return the functions of these names, by address.

    :raises ReadFailed: for a name that no kernel gives.
    """
    return tuple(
        _function(tree, address, name)
        for address, name in _addresses(tuple(names))
    )


def _addresses(names: tuple[str, ...]) -> list[tuple[Address, str]]:
    """Return addresses and names, by address.

    The kernel writes an address in one form only: another form would be a
    second name for the same function.

    :raises ReadFailed: when a name has another form.
    """
    pairs: list[tuple[Address, str]] = []
    odd: list[str] = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            odd.append(name)
            continue
        domain, bus, slot, function = match.groups()
        address = Address(
            int(domain, 16), int(bus, 16), int(slot, 16), int(function)
        )
        pairs.append((address, name))
    if odd:
        raise errors.ReadFailed(
            f"{DEVICES} has {', '.join(map(repr, odd))}; expected only"
            " names that the kernel writes, such as 0000:06:00.0: copy the"
            " tree again"
        )
    pairs.sort()
    return pairs


def _function(tree: Tree, address: Address, name: str) -> Function:
    folder = f"{DEVICES}/{name}"
    (uevent, node), (group,) = tree.gather(folder, _FILES, _LINKS)
    identity = function_identity.identity(tree, folder, uevent)
    if group is None and (
        not identity.is_whole or _is_export(tree, folder, node)
    ):
        group = MISSING
    return Function(
        address,
        *identity[:6],
        _group(group),
        _node(node),
        identity.modalias,
        _is_bridge(tree, name, identity.class_code),
    )


def _is_export(tree: Tree, folder: str, node: bytes | Unknown) -> bool:
    """Return whether this is what udevadm exports: neither files nor links.

    :param node: contents of ``numa_node``, which saves reading more.
    """
    return node is MISSING and tree.read(f"{folder}/vendor", 1) is MISSING


def _group(link: str | Unknown | None) -> int | Unknown | None:
    """Return the number at the end of ``…/kernel/iommu_groups/18``."""
    if not isinstance(link, str):
        return link
    number = link.rpartition("/")[2]
    if number.isascii() and number.isdecimal():
        return int(number)
    return Unknown(Why.MALFORMED, link)


@functools.lru_cache(maxsize=1024)
def _node(data: bytes | Unknown) -> int | Unknown | None:
    if isinstance(data, Unknown):
        return data
    try:
        node = int(data)
    except ValueError:
        return Unknown(Why.MALFORMED, repr(data)[2:-1])
    return None if node < 0 else node


def _is_bridge(tree: Tree, name: str, class_code: int | Unknown) -> bool:
    """Return whether its header type is not 0, without opening ``config``.

    Not every function of base class 06 has a bridge's header: host and ISA
    bridges have type 0, and vfio-pci binds them.  Where the class does not
    decide, a bridge is what has a bus below it.
    """
    if not isinstance(class_code, Unknown):
        if class_code >> 8 in _BRIDGE_CLASSES:
            return True
        if class_code >> 16 != BRIDGE_BASE_CLASS:
            return False
    below = tree.names(f"{DEVICES}/{name}/pci_bus")
    return not isinstance(below, Unknown)


# The part of config space that every user may read, and every function
# has.  Source: PCI Local Bus Specification 3.0, 6.1.
_HEADER_BYTES = 64
_REVISION_AT = 0x08
_HEADER_TYPE_AT = 0x0E
_VGA = 0x0300

_DETAIL_FILES = (
    "revision",
    "driver_override",
    "reset_method",
    "boot_vga",
    "boot_display",
    "resource",
    "sriov_totalvfs",
    "sriov_numvfs",
    "nvidia/current_vgpu_type",
)
# Source: Linux, Documentation/driver-api/vfio-mediated-device.rst.
_MEDIATED = "sys/bus/mdev/devices"


def detail(tree: Tree, function: Function) -> Detail:
    """Return what judging or showing ``function`` needs beyond the listing.

    Opens its config space, which takes up to a millisecond.
    """
    folder = f"sys/bus/pci/devices/{function.address}"
    files, links = tree.gather(folder, _DETAIL_FILES, ("physfn",))
    revision, override, resets, vga, display, resource, *sriov, vgpu = files
    config = tree.read(f"{folder}/config", _HEADER_BYTES)
    virtual = _virtual(links[0])
    return Detail(
        revision=_revision(revision, config),
        header=_header(config),
        modules=modules.modules(tree, function.modalias),
        driver_override=_override(override),
        reset_methods=_words(resets),
        boot_vga=_boot_vga(vga, display, function.class_code),
        bars=function_bars.parse(resource),
        sriov=virtual or _physical(*sriov),
        bridges=_bridges(tree, folder),
        is_on_vfio=is_on_vfio(tree, function),
        vgpu_type=_vgpu_type(tree, folder, vgpu, virtual),
    )


def _vgpu_type(
    tree: Tree,
    folder: str,
    vgpu: bytes | Unknown,
    virtual: VirtualFunction | Unknown | None,
) -> int | Unknown | None:
    """Return the type of a vGPU; 0 where there may be one.

    Below a virtual function that makes mediated devices, which have types
    of their own.  A physical one may be handed out whole.
    """
    if vgpu is not MISSING or virtual is None:
        return None if vgpu is MISSING else _number(vgpu)
    types = tree.names(f"{folder}/mdev_supported_types")
    if isinstance(types, Unknown):
        return None if types is MISSING else types
    return 0


def mediated_devices(
    tree: Tree,
) -> dict[Address, tuple[str, ...]] | Unknown:
    """Return the UUIDs of the host's mediated devices, by their function."""
    names = tree.names(_MEDIATED)
    if isinstance(names, Unknown):
        return {} if names is MISSING else names.at(_MEDIATED)
    by_function: dict[Address, tuple[str, ...]] = {}
    for name in names:
        path = tree.real(f"{_MEDIATED}/{name}")
        if isinstance(path, Unknown):
            return path.at(f"{_MEDIATED}/{name}")
        for address in sysfs_path.endpoints(path)[-1:]:
            by_function[address] = (*by_function.get(address, ()), name)
    return by_function


def is_on_vfio(tree: Tree, function: Function) -> bool | Unknown:
    """Return whether a VFIO driver has the function.

    The kernel makes a folder ``vfio-dev`` for it from 6.1 on, whichever
    driver it is; before that, modules.alias names the drivers.  Source:
    Linux, Documentation/ABI/testing/sysfs-devices-vfio-dev.
    """
    driver = function.driver
    if driver is None or isinstance(driver, Unknown):
        return False if driver is None else driver
    if driver == VFIO_PCI:
        return True
    devices = tree.names(f"{DEVICES}/{function.address}/vfio-dev")
    if devices and not isinstance(devices, Unknown):
        return True
    drivers = modules.vfio_drivers(tree)
    if isinstance(drivers, Unknown):
        # Any other name is of a driver of the host's.
        return drivers if "vfio" in driver else False
    return driver.replace("-", "_") in drivers


def bridges(tree: Tree, function: Function) -> tuple[Address, ...]:
    """Return the bridges above a function, the nearest last."""
    return _bridges(tree, f"sys/bus/pci/devices/{function.address}")


def port(tree: Tree, address: Address) -> Port | Unknown | None:
    """Return the port of PCI Express that a bridge is; None if it is none.

    Opens all of its config space, most of which only root may read.
    """
    config = tree.read(f"{DEVICES}/{address}/config", pci_config.BYTES)
    return config if isinstance(config, Unknown) else pci_config.port(config)


def _malformed(data: bytes) -> Unknown:
    return Unknown(Why.MALFORMED, decoded(data))


def _number(data: bytes | Unknown, base: int = 10) -> int | Unknown:
    if isinstance(data, Unknown):
        return data
    try:
        return int(data, base)
    except ValueError:
        return _malformed(data)


def _revision(data: bytes | Unknown, config: bytes | Unknown) -> int | Unknown:
    """Return the revision; kernels before 4.10 have no file for it."""
    if data is not MISSING:
        return _number(data, 16)
    if isinstance(config, Unknown):
        return config
    if len(config) < _HEADER_BYTES:
        return Unknown(Why.MALFORMED, f"config is {len(config)} bytes long")
    return config[_REVISION_AT]


def _header(config: bytes | Unknown) -> Header | Unknown:
    """Return what the header type in config space says.

    The ids do not tell: a live virtual function's read ffff too.
    Source: Single Root I/O Virtualization 1.1, 3.4.1.1.
    """
    if isinstance(config, Unknown):
        return config
    if len(config) < _HEADER_BYTES:
        return Unknown(Why.MALFORMED, f"config is {len(config)} bytes long")
    kind = config[_HEADER_TYPE_AT] & 0x7F
    if kind == 0x7F:
        return Header.DEAD
    if kind > 2:
        return Unknown(Why.MALFORMED, f"header type {kind:#04x}")
    return Header.BRIDGE if kind else Header.ENDPOINT


def _override(data: bytes | Unknown) -> str | Unknown | None:
    if isinstance(data, Unknown):
        return data
    text = decoded(data)
    # What the kernel prints for a null pointer.
    return None if text in {"(null)", ""} else text


def _words(data: bytes | Unknown) -> tuple[str, ...] | Unknown:
    return data if isinstance(data, Unknown) else tuple(decoded(data).split())


def _boot_vga(
    data: bytes | Unknown, display: bytes | Unknown, class_code: int | Unknown
) -> bool | Unknown | None:
    """Return the flag; only VGA devices have the file.

    Linux has a file for other displays from 6.17 on, which only the
    firmware's primary one has.
    """
    if not isinstance(display, Unknown) and decoded(display).strip() == "1":
        return True
    if data is MISSING:
        is_vga = isinstance(class_code, Unknown) or class_code >> 8 == _VGA
        return data if is_vga else None
    flag = _number(data)
    return flag if isinstance(flag, Unknown) else flag == 1


def _virtual(link: str | Unknown | None) -> VirtualFunction | Unknown | None:
    if not isinstance(link, str):
        return link
    try:
        return VirtualFunction(addresses.parse(chroot_path.name(link)))
    except errors.Invalid:
        return Unknown(Why.MALFORMED, link)


def _physical(
    total: bytes | Unknown, enabled: bytes | Unknown
) -> PhysicalFunction | Unknown | None:
    """Return None for a function that cannot have virtual functions."""
    if total is MISSING:
        return None
    total_vfs, enabled_vfs = _number(total), _number(enabled)
    if isinstance(total_vfs, Unknown):
        return total_vfs
    if total_vfs == 0:
        return None
    if isinstance(enabled_vfs, Unknown):
        return enabled_vfs
    return PhysicalFunction(total_vfs, enabled_vfs)


def _bridges(tree: Tree, folder: str) -> tuple[Address, ...]:
    """Return every function on the path of its parent."""
    where = tree.real(folder)
    if isinstance(where, Unknown):
        return ()
    return tuple(sysfs_path.functions(where.rpartition("/")[0]))
