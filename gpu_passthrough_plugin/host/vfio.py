"""What vfio's character devices do: the hot reset, and who uses a group."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.address import Address

FOLDER = "/dev/vfio"
# _IO(';', 100 + n), which carries no size.
# Source: kernel, include/uapi/linux/vfio.h.
_VFIO = ord(";") << 8 | 100
_SET_IOMMU = _VFIO + 2
_GROUP_GET_STATUS = _VFIO + 3
_GROUP_SET_CONTAINER = _VFIO + 4
_GROUP_GET_DEVICE_FD = _VFIO + 6
_DEVICE_PCI_HOT_RESET = _VFIO + 13
_TYPE1_IOMMU = 1
_GROUP_FLAGS_VIABLE = 1


def hot_reset(
    address: Address, iommu_group: int, others: Sequence[int] = ()
) -> None:
    """Reset the function's bus, whose functions are all on vfio-pci.

    :param others: further groups that have functions on that bus.
    :raises Unavailable: when the group is not viable or in use, or the
        kernel has no such reset for it.
    """
    try:
        with contextlib.ExitStack() as stack:
            container = _opened(stack, "/dev/vfio/vfio")
            groups = []
            for number in (iommu_group, *others):
                group = _opened(stack, f"/dev/vfio/{number}")
                _require_viable(group, number)
                fcntl.ioctl(
                    group, _GROUP_SET_CONTAINER, struct.pack("i", container)
                )
                groups.append(group)
            fcntl.ioctl(container, _SET_IOMMU, _TYPE1_IOMMU)
            device = fcntl.ioctl(
                groups[0],
                _GROUP_GET_DEVICE_FD,
                array.array("b", f"{address}\0".encode()),
            )
            stack.callback(os.close, device)
            # struct vfio_pci_hot_reset: argsz, flags, count, group_fds[].
            count = len(groups)
            order = struct.pack(
                f"III{count}i", 12 + 4 * count, 0, count, *groups
            )
            fcntl.ioctl(device, _DEVICE_PCI_HOT_RESET, order)
    except OSError as error:
        path = f"{error.filename}: " if error.filename else ""
        raise errors.Unavailable(
            f"bus reset of {address} failed: {path}{error.strerror}"
        ) from error


def require_idle(iommu_group: int, folder: str = FOLDER) -> None:
    """Raise if a guest or another program uses the IOMMU group.

    The kernel lets one program at a time open a group.

    :raises Refused: when one has it open.
    :raises Unavailable: when that is unknown.
    """
    path = f"{folder}/{iommu_group}"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        # No function of the group is on vfio-pci.
        return
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise errors.Refused(
                f"IOMMU group {iommu_group} is in use: a guest or another"
                f" program has {path} open; stop it first"
            ) from error
        raise errors.Unavailable(
            f"whether {path} is in use is unknown: {error.strerror}"
        ) from error


def _opened(stack: contextlib.ExitStack, path: str) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    stack.callback(os.close, handle)
    return handle


def _require_viable(group: int, number: int) -> None:
    status = array.array("I", [8, 0])
    fcntl.ioctl(group, _GROUP_GET_STATUS, status)
    if not status[1] & _GROUP_FLAGS_VIABLE:
        raise errors.Unavailable(
            f"IOMMU group {number} is not viable: one of its functions is"
            " bound to a host driver"
        )
