"""Whether anything keeps a host driver from letting go of its functions."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import modules
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.group import Member

# How long processes are looked through.  libvirt, and with it whoever starts a
# guest, waits for the hook.
_LIMIT_S, _HOOK_LIMIT_S = 10.0, 1.0
# For how long a start is not refused for a device file that is open: programs
# that measure, or look at a device that appeared, have one open for a moment.
_MOMENT_S, _POLL_S = 2.0, 0.2


def require_unused(
    tree: Tree,
    drivers: Iterable[tuple[Address, str]],
    limit_s: float = _LIMIT_S,
) -> tuple[str, ...]:
    """Raise if something uses functions; return what could not be read.

    The kernel takes a driver away only when its users have let go, which may
    be never; meanwhile the process that asked for it cannot be killed.

    :param drivers: functions, each with the driver that it is taken from.
    :param limit_s: how long processes are looked through for open files.
    :raises Refused: with processes and device files by name.
    """
    # Most guests of the hook have no function on a driver of the host's.
    from gpu_passthrough_plugin.discovery import device_holders
    from gpu_passthrough_plugin.model import device_holder

    uses = device_holders.read(tree, drivers, limit_s)
    if reasons := device_holder.reasons(uses):
        raise errors.Refused("; ".join(reasons))
    return device_holder.doubts(uses)


def require_takeable(
    tree: Tree, members: Iterable[Member], managed: Collection[Address]
) -> None:
    """Raise if something uses a function that libvirt is about to take.

    Even what is used for a moment only is not to be taken meanwhile: NVIDIA's
    driver may wait for good for a process that has let go since.
    Source: NVIDIA/open-gpu-kernel-modules#1119.

    What cannot be read keeps no guest from starting.

    :param members: of the groups that a guest has functions of.
    :param managed: functions that libvirt takes from their drivers, unless
        they are on a VFIO driver that it leaves them on.
    :raises Refused: libvirt itself would wait, and each call to it as well.
    """
    drivers = [
        (member.address, member.function.driver)
        for member in members
        if member.address in managed
        and isinstance(member.function.driver, str)
        and not modules.libvirt_keeps(tree, member.function.driver)
    ]
    if not drivers:
        return
    deadline = time.monotonic() + _MOMENT_S
    while True:
        try:
            require_unused(tree, drivers, _HOOK_LIMIT_S)
        except errors.Refused:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return
