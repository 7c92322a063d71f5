"""What a function's health is read from: its link, its power and its errors.

Source for what is common, and no fault: GPUs lower the speed of their link
while they are idle, some of them all the time (Syllo/nvtop#6,
NVIDIA/open-gpu-kernel-modules#731 and #1010, local-inference-lab/rtx6kpro#88);
a port with fewer lanes than the card bounds the link (open-mpi/hwloc#653).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from gpu_passthrough_plugin.model.reading import MISSING, Unknown

_Value = TypeVar("_Value", int, float)


class Link(NamedTuple):
    """A link of PCI Express, as one of its ends shows it.

    Each is None where the function has no link.

    :param speed_gts: gigatransfers a second now.
    :param width: lanes now; 0 while the link is down.
    """

    speed_gts: float | Unknown | None
    width: int | Unknown | None
    max_speed_gts: float | Unknown | None = MISSING
    max_width: int | Unknown | None = MISSING

    def __str__(self) -> str:
        return _shown(self.speed_gts, self.width)


NO_LINK = Link(None, None, None, None)


class LinkMaximum(NamedTuple):
    """What the port at the other end of a link supports at most."""

    speed_gts: float | Unknown | None
    width: int | Unknown | None


class AerCounters(NamedTuple):
    """Errors of one severity that a function reported since it was found.

    The kernel counts from 0 at boot, and after the function was removed and
    found again.

    :param total: messages; one may report several errors.
    """

    by_kind: Mapping[str, int]
    total: int


class FunctionHealth(NamedTuple):
    """What sysfs shows of one function.

    :param port: what the bridge above it supports; None where there is none.
    :param power_state: such as ``D0`` or ``D3cold``.
    :param runtime_status: such as ``active``, ``suspended`` or ``error``.
    :param is_dead: whether its link reads all ones: it does not respond.
    :param correctable: None, like the others, for a function that counts no
        errors.
    """

    link: Link
    port: LinkMaximum | None
    power_state: str | Unknown | None
    runtime_status: str | Unknown | None
    is_dead: bool
    correctable: AerCounters | Unknown | None
    nonfatal: AerCounters | Unknown | None
    fatal: AerCounters | Unknown | None

    @property
    def reachable(self) -> Link:
        """What both ends support, in ``max_speed_gts`` and ``max_width``.

        A card in a slot with fewer lanes never has all of its own.
        """
        link, port = self.link, self.port
        if port is None:
            return link
        return link._replace(
            max_speed_gts=_lower(link.max_speed_gts, port.speed_gts),
            max_width=_lower(link.max_width, port.width),
        )


class ResetState(NamedTuple):
    """What a reset must leave as it was, and how the function does.

    :param bars: the six base address registers, as config space has them.
    """

    bars: tuple[int, ...] | Unknown
    health: FunctionHealth


def _lower(
    one: _Value | Unknown | None, other: _Value | Unknown | None
) -> _Value | Unknown | None:
    """Return the lower of both; the known one where only one is known."""
    if one is None or isinstance(one, Unknown):
        return one if other is None or isinstance(other, Unknown) else other
    if other is None or isinstance(other, Unknown):
        return one
    return min(one, other)


def maximum_shown(link: Link) -> str:
    """Return the maximum of a link, for people."""
    return _shown(link.max_speed_gts, link.max_width)


def _shown(
    speed_gts: float | Unknown | None, width: int | Unknown | None
) -> str:
    if width is None:
        return "none"
    is_known = isinstance(speed_gts, (int, float))
    speed = f"{speed_gts} GT/s" if is_known else "unknown speed"
    lanes = "unknown width" if isinstance(width, Unknown) else f"x{width}"
    return f"{speed} {lanes}"
