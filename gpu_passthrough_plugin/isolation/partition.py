"""Which functions form a group: the kernel's, or a prediction by card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Detail, Function, Header
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.selector import Selector
from gpu_passthrough_plugin.model.trait import Given


class Policy(NamedTuple):
    """Which functions the operator selects and excludes, and their traits.

    :param select: a function that any of these matches is a primary.
    :param exclude: a function that any of these matches stays with the
        host, and its whole group with it.
    :param traits: traits that units get in addition to their own.
    """

    select: tuple[Selector, ...]
    exclude: tuple[Selector, ...] = ()
    traits: tuple[Given, ...] = ()

    def is_primary(self, function: Function) -> bool:
        return not function.is_bridge and _any(self.select, function)

    def is_excluded(self, function: Function) -> bool:
        return _any(self.exclude, function)


def _any(selectors: Iterable[Selector], function: Function) -> bool:
    return any(selector.matches(function) for selector in selectors)


class Part(NamedTuple):
    """The members of one group, without a verdict.

    :param number: None for a function that is in no group: each such
        function is a part of its own.
    :param strays: functions whose group is unknown: it may be this one.
    """

    number: int | None
    members: tuple[Member, ...]
    strays: tuple[Address, ...] = ()

    @property
    def has_primary(self) -> bool:
        return any(m.role is Role.PRIMARY for m in self.members)


def parts(functions: Sequence[Function], policy: Policy) -> tuple[Part, ...]:
    """Return the groups: every function in one, by number, then address.

    :param functions: of one host, each address once.
    """
    groups: dict[int, list[Member]] = {}
    alone: list[Part] = []
    for function in sorted(functions, key=lambda f: f.address):
        member = Member(function, _role(function, policy), None)
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
    numbered = (Part(n, tuple(groups[n]), strays) for n in sorted(groups))
    return (*numbered, *alone)


def detailed(part: Part, details: Mapping[Address, Detail]) -> Part:
    """Return the group with the given details of its members."""
    return part._replace(
        members=tuple(
            _with_detail(m, details.get(m.address)) for m in part.members
        )
    )


def predicted_parts(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the groups that a host will have once its IOMMU is on.

    The kernel's own, and functions in none by card: a card in a slot of its
    own is a group, or a part of one.
    """
    cards: dict[tuple[int, int, int], list[Member]] = {}
    for part in parts:
        if part.number is None:
            card = part.members[0].address.card
            cards.setdefault(card, []).extend(part.members)
    numbered = (part for part in parts if part.number is not None)
    return (*numbered, *(Part(None, tuple(c)) for c in cards.values()))


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
    return Member(member.function, role, detail)
