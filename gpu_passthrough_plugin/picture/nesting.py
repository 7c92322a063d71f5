"""Which box of a host's picture is in which, and the state of each group."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.fabric import Fabric
from gpu_passthrough_plugin.model.function import Function, VirtualFunction
from gpu_passthrough_plugin.model.group import NO_PRIMARY, Group, Member
from gpu_passthrough_plugin.model.reading import Unknown, shown
from gpu_passthrough_plugin.model.selector import SelectionState
from gpu_passthrough_plugin.model.unit import State
from gpu_passthrough_plugin.picture.host_picture import (
    BridgePicture,
    FunctionPicture,
    GroupPicture,
    HostPicture,
    LedgerState,
    Mark,
    NodePicture,
)

Item = GroupPicture | BridgePicture | FunctionPicture


class HostContent(NamedTuple):
    """Everything that a picture is made of.

    :param names: vendor and device of each function, as pci.ids has them.
    :param parents: the bridge right above each function; None at a root.
    :param states: how far each function is on its way to guests.
    :param ledger: by lowest primary; None where the ledger was not read.
    :param facts: returns short texts on a function.
    """

    title: str
    groups: tuple[Group, ...]
    parents: Mapping[Address, Address | None]
    names: Mapping[Address, tuple[str, str]]
    states: Mapping[Address, SelectionState]
    facts: Callable[[Member], Iterable[str]]
    fabric: Fabric | None = None
    ledger: Mapping[Address, LedgerState] | None = None


# Base classes.  Source: PCI Code and ID Assignment 1.11.
_KINDS = {
    0x01: "storage",
    0x02: "network",
    0x03: "display",
    0x04: "audio",
    0x06: "chipset",
    0x0C: "serial bus",
    0x12: "accelerator",
}
# Of these a function has so many that each of them would hide the rest.
_FOLDED_FROM = 3


def picture(content: HostContent) -> HostPicture:
    """Return what a picture of a host shows."""
    return _Builder(content).host()


def mark(
    group: Group, state: SelectionState, ledger: LedgerState | None
) -> tuple[Mark, str]:
    """Return a group's state, and who has it or why the host keeps it.

    :param state: of its functions on their way to guests.
    :param ledger: None where the ledger does not have it, or was not read.
    """
    if ledger is not None:
        if ledger.state is State.QUARANTINED:
            return Mark.QUARANTINED, ledger.reason
        if ledger.state is not State.FREE:
            return Mark.HELD, f"{ledger.state} for {ledger.holder}"
    is_selected = all(r.rule != NO_PRIMARY for r in group.verdict.reasons)
    reasons = [r for r in group.verdict.reasons if r.rule != NO_PRIMARY]
    if not (is_selected or reasons):
        return Mark.NOT_SELECTED, ""
    if reasons:
        return Mark.KEPT, reasons[0].text
    if state is SelectionState.PENDING:
        return Mark.PENDING, ""
    if state in (SelectionState.ACTIVE, SelectionState.UNBOUND):
        is_free = ledger is not None
        return (Mark.FREE if is_free else Mark.READY), (
            "not bound" if state is SelectionState.UNBOUND else ""
        )
    if state is SelectionState.SELECTED:
        return Mark.SELECTED, ""
    return Mark.NOT_SELECTED, ""


class _Builder:
    """Puts functions, groups and bridges into one another."""

    def __init__(self, content: HostContent) -> None:
        self._content = content
        self._members: dict[Address, Member] = {}
        self._group: dict[Address, Group] = {}
        for group in content.groups:
            for member in group.members:
                self._members[member.address] = member
                self._group[member.address] = group
        self._below: dict[Address | None, list[Member]] = {}
        for address in sorted(self._members):
            parent = content.parents.get(address)
            parent = parent if parent in self._members else None
            self._below.setdefault(parent, []).append(self._members[address])
        # Groups of which a function is somewhere below each bridge.
        self._within: dict[Address, set[int | None]] = {}
        for address in self._members:
            if not self._is_bridge(address):
                self._note(address, self._number(address))

    def _note(self, address: Address, number: int | None) -> None:
        seen: set[Address] = set()
        parent = self._content.parents.get(address)
        while parent is not None and parent not in seen:
            seen.add(parent)
            self._within.setdefault(parent, set()).add(number)
            parent = self._content.parents.get(parent)

    def _is_bridge(self, address: Address) -> bool:
        """Return whether a function has buses below it, or may have them.

        Intel's VMD is no bridge, and has ports below it.
        """
        is_bridge = self._members[address].function.is_bridge
        return is_bridge or bool(self._below.get(address))

    def _number(self, address: Address) -> int | None:
        return self._group[address].number

    def host(self) -> HostPicture:
        nodes: dict[str, list[Member]] = {}
        for member in self._below.get(None, []):
            nodes.setdefault(_node(member.function), []).append(member)
        fabric = self._content.fabric
        return HostPicture(
            self._content.title,
            tuple(
                NodePicture(title, self._items(nodes[title], frozenset()))
                for title in sorted(nodes)
            ),
            () if fabric is None else (f"NVLink fabric: {fabric}",),
        )

    def _items(
        self, members: Sequence[Member], inside: frozenset[int | None]
    ) -> tuple[Item, ...]:
        """Return what is at one place, in areas of groups.

        :param inside: numbers of the groups whose area this place is in.
        """
        items: list[Item] = []
        areas: dict[object, list[Member]] = {}
        order: list[object] = []
        for member in members:
            key = self._area(member, inside)
            if key not in areas:
                order.append(key)
            areas.setdefault(key, []).append(member)
        for key in order:
            own = areas[key]
            if isinstance(key, Address):
                items.append(self._bridge(own[0], inside))
            elif isinstance(key, int) and key in inside:
                items += self._functions(own)
            else:
                items.append(self._area_of(own, inside))
        return _folded(items)

    def _area(self, member: Member, inside: frozenset[int | None]) -> object:
        """Return what members of one area have in common.

        A bridge that the kernel isolates from all below it has no area, only
        the number of its group.
        """
        address, number = member.address, self._number(member.address)
        if number is None and not self._is_bridge(member.address):
            return ("none", address)
        if self._is_bridge(member.address) and (
            number in inside
            or number is None
            or number not in self._within.get(address, set())
        ):
            return address
        return number

    def _area_of(
        self, members: Sequence[Member], inside: frozenset[int | None]
    ) -> GroupPicture:
        group = self._group[members[0].address]
        content = self._content
        state = SelectionState.least(
            content.states.get(m.address, SelectionState.NOT_SELECTED)
            for m in group.members
        )
        ledger = None
        if content.ledger is not None:
            lowest = min((m.address for m in group.primaries), default=None)
            ledger = content.ledger.get(lowest) if lowest else None
        group_mark, detail = mark(group, state, ledger)
        within = inside | {group.number}
        endpoints = [m for m in members if not self._is_bridge(m.address)]
        bridges = [m for m in members if self._is_bridge(m.address)]
        return GroupPicture(
            group.number,
            group_mark,
            detail,
            (
                *self._functions(endpoints),
                *(self._bridge(bridge, within) for bridge in bridges),
            ),
        )

    def _bridge(
        self, member: Member, inside: frozenset[int | None]
    ) -> BridgePicture:
        return BridgePicture(
            self._function(member),
            self._number(member.address),
            self._items(self._below.get(member.address, []), inside),
        )

    def _functions(self, members: Sequence[Member]) -> list[FunctionPicture]:
        """Return the functions, many virtual ones of one card as one."""
        virtual: dict[Address, list[Member]] = {}
        for member in members:
            physical = _physical(member)
            if physical is not None:
                virtual.setdefault(physical, []).append(member)
        many = {p for p, own in virtual.items() if len(own) >= _FOLDED_FROM}
        pictures = []
        for member in members:
            physical = _physical(member)
            if physical not in many:
                pictures.append(self._function(member))
            elif virtual[physical][0] is member:
                rest = tuple(str(m.address) for m in virtual[physical][1:])
                one = self._function(member)
                pictures.append(one._replace(folded=rest))
        return pictures

    def _function(self, member: Member) -> FunctionPicture:
        function = member.function
        vendor, device = self._content.names.get(member.address, ("", ""))
        return FunctionPicture(
            str(member.address),
            f"{vendor} {device}".strip(),
            _label(device) or vendor,
            _kind(function),
            member in self._group[member.address].primaries,
            tuple(self._content.facts(member)),
            physical=str(_physical(member) or ""),
        )


def _folded(
    items: Sequence[Item],
) -> tuple[Item, ...]:
    """Return items, groups of many virtual functions of a card as one."""
    alike: dict[tuple[str, Mark, str], list[GroupPicture]] = {}
    for item in items:
        if (key := _virtual(item)) is not None and isinstance(
            item, GroupPicture
        ):
            alike.setdefault(key, []).append(item)
    folded = []
    for item in items:
        key = _virtual(item)
        same = alike.get(key, []) if key is not None else []
        if len(same) < _FOLDED_FROM:
            folded.append(item)
        elif same[0] is item:
            folded.append(_one(same))
    return tuple(folded)


def _virtual(item: Item) -> tuple[str, Mark, str] | None:
    """Return what groups of one virtual function each have in common."""
    if not isinstance(item, GroupPicture) or len(item.items) != 1:
        return None
    (function,) = item.items
    if isinstance(function, BridgePicture) or not function.physical:
        return None
    # A reason names the function.
    detail = item.detail.replace(function.address, "")
    return function.physical, item.mark, detail


def _one(groups: Sequence[GroupPicture]) -> GroupPicture:
    """Return one group that stands for all of them."""
    functions = [
        function
        for group in groups
        for function in group.items
        if isinstance(function, FunctionPicture)
    ]
    rest = tuple(
        address
        for function in functions[1:]
        for address in (function.address, *function.folded)
    )
    return groups[0]._replace(
        items=(functions[0]._replace(folded=rest),),
        more=tuple(g.number for g in groups[1:] if g.number is not None),
    )


def _physical(member: Member) -> Address | None:
    """Return the physical function of a virtual one; None for others."""
    sriov = None if member.detail is None else member.detail.sriov
    return sriov.physical if isinstance(sriov, VirtualFunction) else None


def _label(device: str) -> str:
    """Return what pci.ids has in brackets: the name that a card is sold by."""
    match = re.search(r"\[([^\[\]]+)\]", device)
    return match[1] if match else device


def _kind(function: Function) -> str:
    if function.is_nvswitch:
        return "NVSwitch"
    if function.is_bridge:
        return "bridge"
    code = function.class_code
    if isinstance(code, Unknown):
        return "unknown"
    return _KINDS.get(code >> 16, "other")


def _node(function: Function) -> str:
    node = function.numa_node
    return "no NUMA node" if node is None else f"NUMA node {shown(node)}"
