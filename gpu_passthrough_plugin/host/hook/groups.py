"""IOMMU groups straight from sysfs: only those that a guest touches.

``discovery`` reads whole hosts, and takes longer to import than this to
read.
"""

from __future__ import annotations

import os

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.guard import Group, Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_DEVICES = "sys/bus/pci/devices"
_GROUPS = "sys/kernel/iommu_groups"
# The header type, whose top bit says that there are more functions.
# Source: PCI Local Bus Specification 3.0, 6.2.1.
_HEADER_AT = 0x0E
_HEADER_BITS = 0x7F
_MOST_BYTES = 4096


def groups(root: str, addresses: Iterable[str]) -> tuple[Group, ...]:
    """Every group that one of the functions is in, by number.

    :raises ReadFailed: when one cannot be read whole.
    """
    numbers = {_number(root, address) for address in addresses}
    return tuple(_group(root, number) for number in sorted(numbers))


def _number(root: str, address: str) -> int:
    path = os.path.join(root, _DEVICES, address)
    try:
        return int(os.readlink(f"{path}/iommu_group").rpartition("/")[2])
    except FileNotFoundError as error:
        if os.path.isdir(path):
            raise errors.ReadFailed(
                f"{address} is in no IOMMU group; run 'gpu-passthrough host"
                " check'"
            ) from error
        raise errors.ReadFailed(
            f"this host has no function {address}; see 'gpu-passthrough"
            " device list'"
        ) from error
    except (OSError, ValueError) as error:
        raise _unread(f"{path}/iommu_group", error) from error


def _group(root: str, number: int) -> Group:
    path = os.path.join(root, _GROUPS, str(number), "devices")
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise _unread(path, error) from error
    return Group(number, tuple(_member(root, name) for name in names))


def _member(root: str, address: str) -> Member:
    path = os.path.join(root, _DEVICES, address)
    lines = _read(f"{path}/uevent").decode("utf-8", "replace").splitlines()
    pairs = dict(line.partition("=")[::2] for line in lines)
    try:
        class_code = f"{int(pairs['PCI_CLASS'], 16):06x}"
        ids = pairs["PCI_ID"].lower()
    except (KeyError, ValueError) as error:
        raise _unread(f"{path}/uevent", error) from error
    header = _read(f"{path}/config", _HEADER_AT + 1)[_HEADER_AT:]
    if not header:
        raise errors.ReadFailed(
            f"{path}/config is shorter than a header; is {address} there?"
        )
    kind = header[0] & _HEADER_BITS
    return Member(
        address,
        ids,
        class_code,
        pairs.get("DRIVER") or None,
        is_bridge=kind not in (0, _HEADER_BITS),
        is_dead=kind == _HEADER_BITS,
    )


def _read(path: str, size: int = _MOST_BYTES) -> bytes:
    """The first bytes of a file, in one call to the kernel.

    Any buffer would read all of a config space that answers slowly.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(handle, size)
        finally:
            os.close(handle)
    except OSError as error:
        raise _unread(path, error) from error


def _unread(path: str, error: Exception) -> errors.ReadFailed:
    why = error.strerror if isinstance(error, OSError) else repr(error)
    return errors.ReadFailed(
        f"cannot read {path}: {why}; see 'gpu-passthrough device list'"
    )
