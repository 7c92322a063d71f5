"""Read a host once, into values that every command decides by."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery import host_interfaces
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.isolation import (
    cards,
    host_needs,
    partition,
    selection,
    verdict,
)
from gpu_passthrough_plugin.isolation.partition import Part, Policy
from gpu_passthrough_plugin.isolation.selection import HostSelection
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Group, Member, Role
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.selector import (
    Enabled,
    SelectionState,
    Selector,
)

if TYPE_CHECKING:
    from gpu_passthrough_plugin.model.unit import Unit


class Scope(enum.Enum):
    """Which groups a snapshot has, and which of them are read in full.

    Reading a function in full opens its config space, which takes up to a
    millisecond a function.
    """

    PRIMARIES = "only groups that hold a primary, in full"
    LISTING = "every group; in full those that hold a primary"
    ALL = "every group in full"


class HostSnapshot(NamedTuple):
    """What a host shows, under one policy.

    :param parts: the members of each group, by the group's number.
    """

    facts: HostFacts
    policy: Policy
    parts: tuple[Part, ...]

    def groups(self) -> tuple[Group, ...]:
        """Return the kernel's groups with their verdicts, by number."""
        return tuple(
            verdict.judge(part, self.facts, self.policy) for part in self.parts
        )

    def predicted_groups(self) -> tuple[Group, ...]:
        """Return the groups that the host will have with its IOMMU on."""
        return tuple(
            verdict.judge_predicted(part, self.facts, self.policy)
            for part in partition.predicted_parts(self.parts)
        )

    def members(self) -> tuple[Member, ...]:
        """Return every function, by address."""
        members = (member for part in self.parts for member in part.members)
        return tuple(sorted(members, key=lambda member: member.address))

    def selection_states(
        self, enabled: Enabled | None
    ) -> dict[Address, SelectionState]:
        """Return how far each function is on its way to guests.

        :param enabled: None where it is not known.
        """
        selected = selection.selected_addresses(self.parts, self.policy)
        return {
            m.address: selection.state(
                m.address, selected, enabled, m.is_on_vfio
            )
            for part in self.parts
            for m in part.members
        }

    def units(self, host: str) -> tuple[Unit, ...]:
        """Return the units that the assignable groups make.

        :param host: the host's name in the ledger.
        """
        # Not for a listing: it imports dataclasses.
        from gpu_passthrough_plugin.isolation import units

        shared = units.shared_switches(self.parts)
        return tuple(
            units.unit(host, group, self.facts, self.policy.traits, shared)
            for group in self.groups()
            if group.verdict.is_assignable
        )


def read(
    tree: Tree, policy: Policy, scope: Scope = Scope.LISTING
) -> HostSnapshot:
    """Return the host, read now."""
    facts = host_facts.facts(tree)
    parts = tuple(
        _read_in_full(tree, part)
        if part.has_primary or scope is Scope.ALL
        else part
        for part in partition.parts(discovery.functions(tree), policy)
    )
    parts = partition.with_mediated_devices(
        parts, discovery.mediated_devices(tree)
    )
    parts = partition.with_neighbours(_with_own_switches(tree, parts))
    parts = tuple(_with_ports(tree, part) for part in parts)
    parts = _with_split_slots(tree, parts)
    if scope is Scope.PRIMARIES:
        parts = tuple(part for part in parts if part.has_primary)
    return HostSnapshot(facts, policy, parts)


def selection_states(
    tree: Tree,
    policy: Policy,
    functions: Sequence[Function],
    enabled: Enabled | None,
) -> dict[Address, SelectionState]:
    """Return how far each function is on its way to guests, read now.

    No function is read in full for that.

    :param functions: all of the host.
    :param enabled: None where it is not known.
    """
    parts = partition.parts(functions, policy)
    selected = selection.selected_addresses(parts, policy)
    return {
        function.address: selection.state(
            function.address,
            selected,
            enabled,
            # Of others it does not matter.
            function.address in selected
            and discovery.is_on_vfio(tree, function),
        )
        for function in functions
    }


def read_selection(
    tree: Tree,
    configured: tuple[Selector, ...],
    place: str = "",
    *,
    is_configured: bool,
) -> HostSelection:
    """Return the host's selection, read now.

    :param configured: ``[discovery] select``, or its default.
    :param place: what errors begin with, where the host is not this one.
    :param is_configured: whether a configuration file sets that option.
    :raises Faults: when the host's selection file is malformed.
    :raises ReadFailed: when that file cannot be read.
    """
    return selection.chosen(
        tree.read(selection.PATH[1:], selection.MAX_BYTES + 1),
        f"{place}{selection.PATH}",
        configured,
        is_configured=is_configured,
    )


def read_groups(
    tree: Tree, policy: Policy, addresses: Iterable[Address]
) -> tuple[Part, ...]:
    """Return the groups that hold some functions, and read nothing else.

    :raises ReadFailed: when a function is not there, or its group cannot be
        read.
    """
    names: set[str] = set()
    for address in addresses:
        names.update(_group_members(tree, address))
    parts = partition.parts(discovery.named(tree, names), policy)
    return partition.with_mediated_devices(
        [_read_in_full(tree, part) for part in parts],
        discovery.mediated_devices(tree),
    )


def unspared(tree: Tree, parts: Iterable[Part]) -> dict[Address, str]:
    """Return why the host cannot spare some functions, read now.

    :param parts: groups, in full.
    """
    facts = host_facts.facts(tree)
    members = [member for part in parts for member in part.members]
    down: frozenset[Address] = frozenset()
    if isinstance(facts.uses, Unknown):
        down = frozenset(
            member.address
            for member in members
            if host_interfaces.are_down(tree, member.address)
        )
    return host_needs.unspared(members, facts, down)


def vfio_drivers(
    tree: Tree, addresses: Iterable[Address]
) -> dict[Address, str]:
    """Return the drivers of the functions that a VFIO driver has now."""
    return {
        function.address: function.driver
        for function in discovery.named(tree, map(str, addresses))
        if isinstance(function.driver, str)
        and discovery.is_on_vfio(tree, function) is True
    }


def _group_members(tree: Tree, address: Address) -> tuple[str, ...]:
    folder = f"{discovery.DEVICES}/{address}"
    members = tree.names(f"{folder}/iommu_group/devices")
    if not isinstance(members, Unknown):
        return members
    if isinstance(tree.names(folder), Unknown):
        raise errors.ReadFailed(
            f"this host has no PCI function {address}; see 'gpu-passthrough"
            " device list'"
        )
    raise errors.ReadFailed(
        f"the IOMMU group of {address} cannot be read ({members}); run"
        " 'gpu-passthrough host check'"
    )


def completed(tree: Tree, snapshot: HostSnapshot) -> HostSnapshot:
    """Return the snapshot with what was not read in full yet read now."""
    return snapshot._replace(
        parts=tuple(
            part
            if all(member.detail is not None for member in part.members)
            else _read_in_full(tree, part)
            for part in snapshot.parts
        )
    )


def _with_own_switches(
    tree: Tree, parts: tuple[Part, ...]
) -> tuple[Part, ...]:
    """Return the groups with the cards that bring a switch along.

    Where none does, as on most hosts, nothing more is read.
    """
    switches = partition.own_switches(parts)
    if not switches:
        return parts
    bridges = {
        member.address: discovery.bridges(tree, member.function)
        for part in parts
        for member in part.members
    }
    return partition.with_own_switches(parts, switches, bridges)


def _with_ports(tree: Tree, part: Part) -> Part:
    """Return the group with the ports above its primaries, each once."""
    if part.number is None or not part.has_primary:
        return part
    addresses = sorted(
        {
            bridge
            for member in part.members
            if member.role is Role.PRIMARY and member.detail is not None
            for bridge in member.detail.bridges
        }
    )
    read_ports = ((a, discovery.port(tree, a)) for a in addresses)
    return part._replace(
        ports=tuple((a, port) for a, port in read_ports if port is not None)
    )


def _with_split_slots(tree: Tree, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the groups with the slots that the kernel split without ACS."""
    functions = (m.function for part in parts for m in part.members)
    slots = {
        function.address: together
        for together in cards.on_board_slots(
            sorted(functions, key=lambda function: function.address)
        )
        for function in together
    }
    return tuple(
        part._replace(split_slot=_split_slot(tree, part, slots))
        if part.has_primary and part.number is not None
        else part
        for part in parts
    )


def _split_slot(
    tree: Tree, part: Part, slots: Mapping[Address, tuple[Function, ...]]
) -> tuple[Address, ...]:
    others = {
        other.address
        for member in part.members
        if member.role is Role.PRIMARY
        for other in slots.get(member.address, ())
        if isinstance(other.iommu_group, int)
        and other.iommu_group != part.number
        and discovery.port(tree, member.address) is None
        and discovery.port(tree, other.address) is None
    }
    return tuple(sorted(others))


def _read_in_full(tree: Tree, part: Part) -> Part:
    details = {
        member.address: discovery.detail(tree, member.function)
        for member in part.members
    }
    if part.number is not None:
        part = part._replace(
            attributes=host_facts.group_attributes(tree, part.number)
        )
    return partition.detailed(part, details)
