"""What a picture of a host shows: boxes within boxes, and their states.

A NUMA node holds bridges and IOMMU groups; a bridge holds what is below it.
A group is an area around its functions, and around the bridges that the
kernel cannot isolate from them.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from gpu_passthrough_plugin.model.unit import State


class Mark(enum.StrEnum):
    """The state of a group, which has a colour and a shape of its own."""

    NOT_SELECTED = "not selected"
    PENDING = "enabled after a reboot"
    SELECTED = "selected, not enabled"
    READY = "ready for guests"
    FREE = "free"
    HELD = "held"
    QUARANTINED = "quarantined"
    KEPT = "kept by the host"


class LedgerState(NamedTuple):
    """What the ledger has of a unit.

    :param holder: the name or UUID of who has it; "" for no one.
    :param reason: why it is quarantined; "" otherwise.
    """

    state: State
    holder: str = ""
    reason: str = ""


class FunctionPicture(NamedTuple):
    """One function, or several virtual ones that are folded into one.

    :param name: vendor and device; "" where the ids cannot be read.
    :param label: what the device is known by; short.
    :param kind: such as ``display``, ``audio`` or ``bridge``.
    :param facts: short texts, such as the driver and the link.
    :param folded: addresses of further functions that it stands for.
    :param physical: the address of the function that a virtual one belongs
        to; "" for others.
    """

    address: str
    name: str
    label: str
    kind: str
    is_primary: bool
    facts: tuple[str, ...]
    folded: tuple[str, ...] = ()
    physical: str = ""


class GroupPicture(NamedTuple):
    """An IOMMU group, or the part of it that is in one place.

    :param number: None for functions in no group.
    :param detail: who has it, or why the host keeps it; may be "".
    :param items: functions, and bridges of the group.
    :param more: numbers of further groups that it stands for: each has one
        virtual function of the same card, in the same state.
    """

    number: int | None
    mark: Mark
    detail: str
    items: tuple[FunctionPicture | BridgePicture, ...]
    more: tuple[int, ...] = ()


class BridgePicture(NamedTuple):
    """A bridge, a port or another function with buses below it.

    :param items: what is below it; functions that are in the area of a group
        already stand alone.
    """

    function: FunctionPicture
    group: int | None
    items: tuple[GroupPicture | BridgePicture | FunctionPicture, ...]


class NodePicture(NamedTuple):
    """A NUMA node, or what is on none."""

    title: str
    items: tuple[GroupPicture | BridgePicture | FunctionPicture, ...]


class HostPicture(NamedTuple):
    """A host.

    :param title: its name, or that of its recording.
    :param notes: lines that stand below the picture.
    """

    title: str
    nodes: tuple[NodePicture, ...]
    notes: tuple[str, ...] = ()
