"""Which functions form a group: the kernel's, or a prediction by card."""

from __future__ import annotations

from collections.abc import (
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from typing import NamedTuple

from gpu_passthrough_plugin.formats.pci_config import Port
from gpu_passthrough_plugin.isolation import cards
from gpu_passthrough_plugin.model import fabric as fabrics
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.fabric import Fabric
from gpu_passthrough_plugin.model.function import (
    Detail,
    Function,
    Header,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.group import (
    GroupAttributes,
    Member,
    Role,
    UsedVF,
)
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.selector import Selector, SelectorKind
from gpu_passthrough_plugin.model.trait import ConfiguredTraits


class Policy(NamedTuple):
    """Which functions the operator selects and excludes, and their traits.

    :param select: a function that any of these matches is a primary.
    :param exclude: a function that any of these matches stays with the
        host, and its whole group with it.
    :param traits: traits that units get in addition to their own.
    :param refuses_unisolated: whether a group that the hardware may not
        isolate is refused; otherwise it is noted.
    """

    select: tuple[Selector, ...]
    exclude: tuple[Selector, ...] = ()
    traits: tuple[ConfiguredTraits, ...] = ()
    refuses_unisolated: bool = False

    def is_primary(self, function: Function) -> bool:
        """Return whether it is selected, and a guest can have such a one.

        Host and ISA bridges are the board's, whatever selects them.  An
        accelerator on the root bus is the processor's own, and has to be
        selected by its address or its ids.
        """
        if _is_bridge(function):
            return False
        is_processors = function.is_accelerator and function.address.bus == 0
        return any(
            selector.matches(function)
            and not (is_processors and selector.kind is SelectorKind.CLASS)
            for selector in self.select
        )

    def is_excluded(self, function: Function) -> bool:
        return _any(self.exclude, function)


def _is_bridge(function: Function) -> bool:
    return function.is_bridge or cards.is_board_bridge(function)


def _any(selectors: Iterable[Selector], function: Function) -> bool:
    return any(selector.matches(function) for selector in selectors)


class Part(NamedTuple):
    """The members of one group, without a verdict.

    :param number: None for a function that is in no group: each such
        function is a part of its own.
    :param strays: functions whose group is unknown: it may be this one.
    :param attributes: None where they were not read.
    :param reset_with: functions of other groups that a reset of a primary
        resets as well, as it has no reset of its own.
    :param card_elsewhere: functions of the primaries' cards that are in
        other groups.
    :param ports: of PCI Express above the primaries, and bridges of which
        it could not be read whether they are.
    :param split_slot: functions of a primary's slot that are in other
        groups, although neither they nor the primary can have ACS.
    :param fabric: of the host, where a primary is a GPU of it, or a member
        an NVSwitch.
    :param used_vfs: of the primaries, in whichever group they are.
    """

    number: int | None
    members: tuple[Member, ...]
    strays: tuple[Address, ...] = ()
    attributes: GroupAttributes | None = None
    reset_with: tuple[Function, ...] = ()
    card_elsewhere: tuple[Function, ...] = ()
    ports: tuple[tuple[Address, Port | Unknown], ...] = ()
    fabric: Fabric | None = None
    split_slot: tuple[Address, ...] = ()
    used_vfs: tuple[UsedVF, ...] = ()

    @property
    def has_primary(self) -> bool:
        return any(m.role is Role.PRIMARY for m in self.members)

    def selected_bridges(self, policy: Policy) -> tuple[str, ...]:
        """Return the members that only their being bridges excludes."""
        return tuple(
            str(m.address)
            for m in self.members
            if _is_bridge(m.function) and _any(policy.select, m.function)
        )


def parts(functions: Sequence[Function], policy: Policy) -> tuple[Part, ...]:
    """Return the groups: every function in one, by number, then address.

    :param functions: of one host, each address once.
    """
    groups: dict[int, list[Member]] = {}
    alone: list[Part] = []
    functions = sorted(functions, key=lambda f: f.address)
    slots = cards.in_slots(functions)
    for function in functions:
        card = slots[function.address]
        member = Member(function, _role(function, policy), None, card)
        number = function.iommu_group
        if isinstance(number, int):
            groups.setdefault(number, []).append(member)
        else:
            alone.append(Part(None, (member,)))
    strays = tuple(
        part.members[0].address
        for part in alone
        if isinstance(part.members[0].function.iommu_group, Unknown)
    )
    numbered = (
        Part(number, _with_bystanders(groups[number]), strays)
        for number in sorted(groups)
    )
    return (*numbered, *alone)


def own_switches(parts: Sequence[Part]) -> frozenset[Address]:
    """Return the upstream ports of the switches that primaries' cards have."""
    members = [member for part in parts for member in part.members]
    functions = {member.address: member.function for member in members}
    switches = (
        cards.own_switch(m.function, m.detail.bridges, functions)
        for m in members
        if m.role is Role.PRIMARY and m.detail is not None
    )
    return frozenset(switch for switch in switches if switch is not None)


def with_own_switches(
    parts: Sequence[Part],
    switches: Collection[Address],
    bridges: Mapping[Address, Sequence[Address]],
) -> tuple[Part, ...]:
    """Return the groups, functions below a card's own switch on one card.

    :param bridges: above each function, the nearest last.
    """
    return tuple(
        part._replace(
            members=tuple(
                _below(member, bridges[member.address], switches)
                for member in part.members
            )
        )
        for part in parts
    )


def _below(
    member: Member, bridges: Sequence[Address], switches: Collection[Address]
) -> Member:
    above = [port for port in bridges if port in switches]
    return member._replace(card=above[-1]) if above else member


def with_mediated_devices(
    parts: Sequence[Part],
    devices: Mapping[Address, tuple[str, ...]] | Unknown,
) -> tuple[Part, ...]:
    """Return the groups with the vGPUs that their functions carry.

    Where one virtual function of a card carries a vGPU, each of the others
    is a place for one.

    :param devices: UUIDs of mediated devices, by their function.
    """
    if not isinstance(devices, Unknown) and not devices:
        return tuple(parts)
    physical = {
        member.detail.sriov.physical
        for part in parts
        for member in part.members
        if not isinstance(devices, Unknown)
        and member.address in devices
        and member.detail is not None
        and isinstance(member.detail.sriov, VirtualFunction)
    }
    return tuple(
        part._replace(
            members=tuple(
                _with_mediated(member, devices, physical)
                for member in part.members
            )
        )
        for part in parts
    )


def _with_mediated(
    member: Member,
    devices: Mapping[Address, tuple[str, ...]] | Unknown,
    physical: Collection[Address],
) -> Member:
    detail = member.detail
    if detail is None:
        return member
    if isinstance(devices, Unknown):
        return member._replace(
            detail=detail._replace(mediated_devices=devices)
        )
    if member.address in devices:
        detail = detail._replace(mediated_devices=devices[member.address])
    if (
        isinstance(detail.sriov, VirtualFunction)
        and detail.sriov.physical in physical
        and detail.vgpu_type is None
    ):
        detail = detail._replace(vgpu_type=0)
    return member._replace(detail=detail)


def with_neighbours(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the groups with what concerns them in other groups.

    :param parts: all groups of the host, those with a primary in full.
    """
    members = [member for part in parts for member in part.members]
    fabric = fabrics.fabric(member.function for member in members)
    used_vfs = tuple(vf for m in members if (vf := m.used_vf) is not None)
    by_bus: dict[object, list[Member]] = {}
    by_card: dict[object, list[Member]] = {}
    for member in members:
        if member.role.is_assigned:
            by_bus.setdefault(member.address[:2], []).append(member)
            if not member.is_virtual:
                by_card.setdefault(member.card, []).append(member)
    return tuple(
        part._replace(
            fabric=fabric if _is_on_fabric(part) else None,
            reset_with=_elsewhere(
                part,
                (
                    by_bus[primary.address[:2]]
                    for primary in _primaries(part)
                    if _is_reset_with_its_bus(primary)
                ),
            ),
            card_elsewhere=_elsewhere(
                part,
                (
                    by_card[primary.card]
                    for primary in _primaries(part)
                    if primary.card is not None and not primary.is_virtual
                ),
            ),
            used_vfs=tuple(
                vf
                for vf in used_vfs
                if any(vf.physical == m.address for m in part.members)
            ),
        )
        if part.has_primary and part.number is not None
        else part._replace(fabric=fabric if _is_on_fabric(part) else None)
        for part in parts
    )


def _primaries(part: Part) -> list[Member]:
    return [m for m in part.members if m.role is Role.PRIMARY]


def _is_on_fabric(part: Part) -> bool:
    return any(fabrics.is_member(m.function) for m in _primaries(part)) or any(
        m.function.is_nvswitch for m in part.members
    )


# More than any card has; a made-up host may have thousands.
_MOST_NEIGHBOURS = 32


def _elsewhere(
    part: Part, neighbours: Iterable[Sequence[Member]]
) -> tuple[Function, ...]:
    """Return the functions that are in other groups, each once, by address."""
    own = {m.address for m in part.members}
    neighbours_by_address = {
        member.address: member.function
        for together in neighbours
        for member in together[:_MOST_NEIGHBOURS]
        if member.address not in own
    }
    return tuple(
        neighbours_by_address[address]
        for address in sorted(neighbours_by_address)
    )


_OF_THE_BUS = frozenset({"bus", "cxl_bus"})


def _is_reset_with_its_bus(primary: Member) -> bool:
    """Return whether its only reset is that of the bus that it is on.

    Source: Linux, drivers/pci/pci.c (``pci_reset_fn_methods``).
    """
    detail = primary.detail
    if detail is None or isinstance(detail.reset_methods, Unknown):
        return False
    return bool(detail.reset_methods) and _OF_THE_BUS.issuperset(
        detail.reset_methods
    )


def _with_bystanders(members: Sequence[Member]) -> tuple[Member, ...]:
    """Return the members, those that are in nobody's way as bystanders.

    The kernel hands a group over while such a function has no driver.
    Source: Linux, drivers/iommu/iommu.c (``iommu_group_claim_dma_owner``).
    """
    chosen = {m.card for m in members if m.role is Role.PRIMARY}
    if not chosen or len(members) == 1:
        return tuple(members)
    return tuple(
        m._replace(role=Role.BYSTANDER)
        if m.role is Role.COMPANION
        and m.card not in chosen
        and cards.is_chipset(m.function)
        and m.function.driver is None
        else m
        for m in members
    )


def detailed(part: Part, details: Mapping[Address, Detail]) -> Part:
    """Return the group with the given details of its members."""
    return part._replace(
        members=tuple(
            _with_detail(m, details.get(m.address)) for m in part.members
        )
    )


def predicted_parts(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the groups that a host will have once its IOMMU is on.

    The kernel's own, and functions in none by slot, which is a group, or a
    part of one, unless its functions isolate each other (ACS).
    """
    together: dict[tuple[int, int, int], list[Member]] = {}
    for part in parts:
        if part.number is None:
            slot = part.members[0].address.slot_address
            together.setdefault(slot, []).extend(part.members)
    numbered = (part for part in parts if part.number is not None)
    return (*numbered, *(Part(None, tuple(c)) for c in together.values()))


def _role(function: Function, policy: Policy) -> Role:
    if function.is_bridge:
        return Role.BRIDGE
    if policy.is_primary(function):
        return Role.PRIMARY
    return Role.COMPANION


def _with_detail(member: Member, detail: Detail | None) -> Member:
    """Return the member with its detail: its header says what a bridge is."""
    role = member.role
    if detail is not None and not isinstance(detail.header, Unknown):
        if detail.header is Header.BRIDGE:
            role = Role.BRIDGE
        elif role is Role.BRIDGE and detail.header is Header.ENDPOINT:
            role = Role.COMPANION
    return member._replace(role=role, detail=detail)
