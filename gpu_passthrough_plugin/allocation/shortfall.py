"""Why a request finds no units: what each unit with its ids lacks.

Worked out after a refusal only, from the records that the ledger has: a
claim that succeeds pays nothing for it.  ``allocation.refusals`` words it.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.allocation import affinity, choice
from gpu_passthrough_plugin.allocation.affinity import (
    LocationRule,
    NumaLocation,
)
from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.allocation import FreeUnit, HostRecord
from gpu_passthrough_plugin.model.request import (
    Item,
    NumaPolicy,
    Request,
    Spec,
)
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitFunction,
    UnitRecord,
)

_MAX_HELD = 8
"""Consumers are named where no more units are held, in a short text."""


class Obstacle(enum.IntEnum):
    """What keeps a unit with an alias's ids from a request.

    In the order in which they are told; a unit has the first that applies.
    """

    COMPANION = enum.auto()
    DEVICE_TYPE = enum.auto()
    TRAITS_LACKING = enum.auto()
    TRAITS_FORBIDDEN = enum.auto()
    HELD = enum.auto()
    QUARANTINED = enum.auto()
    MISSING = enum.auto()
    NUMA_NODE = enum.auto()
    CORDONED = enum.auto()


_Cause = tuple[Obstacle, tuple[str, ...]]
"""An obstacle and its ``Kept.details``."""


class Kept(NamedTuple):
    """Units that one obstacle keeps from a request.

    :param details: for ``DEVICE_TYPE`` that of the unit; for traits their
        names; for ``HELD`` the state and the consumer; for ``QUARANTINED``
        the reason; for ``CORDONED`` the host and the reason; for
        ``NUMA_NODE`` the number of the unit's node, or nothing.
    """

    obstacle: Obstacle
    details: tuple[str, ...]
    units: int


class Scope(enum.Enum):
    """Why no unit was looked at."""

    NO_SUCH_HOST = enum.auto()
    NO_HOSTS = enum.auto()
    NOT_IN_AGGREGATE = enum.auto()
    NO_UNITS = enum.auto()
    UNCOUNTED = enum.auto()


class Apart(enum.Enum):
    """Why free units do not satisfy a request together, enough as they are."""

    HOSTS = enum.auto()
    SWITCH = enum.auto()
    NUMA = enum.auto()
    NUMA_AND_SWITCH = enum.auto()
    SAME_FUNCTIONS = enum.auto()
    # They do: another client changed or reserved them meanwhile.
    NOTHING = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True)
class ItemShortfall:
    """How one item of a request fares.

    :param units: how many units have the ids that its alias names.
    :param kept: which of these an obstacle keeps from the request.
    :param free: how many units are left, and ``functions`` how many
        functions of these count.
    """

    item: Item
    units: int
    kept: tuple[Kept, ...]
    free: int
    functions: int

    @property
    def is_enough(self) -> bool:
        return self.functions >= self.item.count


@dataclasses.dataclass(frozen=True, slots=True)
class Shortfall:
    """Why no host, or not the named one, can satisfy a request.

    :param host: the only host that may be used; None for any.
    :param scope: why no unit was looked at; then the rest is empty.
    :param aggregates: those that the hosts looked at are in.
    :param ids: the ids of the units' primaries, such as ``10de:1430``.
    :param absent_nodes: the NUMA nodes that the instance is tied to and no
        unit is on; ``nodes`` are those that units are on.
    :param apart: why units that would be enough do not fit together.
    :param most: the host with the most free units of the request, and how
        many of its functions it can give; for ``Apart.HOSTS``.
    """

    request: Request
    host: str | None
    scope: Scope | None = None
    aggregates: frozenset[str] = frozenset()
    ids: tuple[str, ...] = ()
    items: tuple[ItemShortfall, ...] = ()
    absent_nodes: frozenset[int] = frozenset()
    nodes: frozenset[int] = frozenset()
    apart: Apart | None = None
    most: tuple[str, int] | None = None


def names_consumers(records: Iterable[UnitRecord]) -> bool:
    """Return whether a shortfall of these units names who holds them."""
    return sum(record.state.is_held for record in records) <= _MAX_HELD


def explain(
    request: Request,
    host: str | None,
    hosts: Collection[HostRecord],
    records: Collection[UnitRecord] | None,
) -> Shortfall:
    """Return why no host, or not the named one, can satisfy a request.

    :param host: the only host that the claim may use; None for any.
    :param hosts: the hosts of the ledger; the named one is enough.
    :param records: the units of these hosts; None when there are too many.
    """
    offered = {h.name: h for h in hosts if host in (None, h.name)}
    if not offered:
        scope = Scope.NO_HOSTS if host is None else Scope.NO_SUCH_HOST
        return Shortfall(request, host, scope)
    aggregates = frozenset(a for h in offered.values() for a in h.aggregates)
    if (within := request.aggregate) is not None:
        offered = {n: h for n, h in offered.items() if within in h.aggregates}
        if not offered:
            return Shortfall(request, host, Scope.NOT_IN_AGGREGATE, aggregates)
    if records is None:
        return Shortfall(request, host, Scope.UNCOUNTED, aggregates)
    if not names_consumers(records):
        records = [dataclasses.replace(r, consumer=None) for r in records]
    of_host: dict[str, list[UnitRecord]] = {name: [] for name in offered}
    for record in records:
        if record.unit.key.host in of_host:
            of_host[record.unit.key.host].append(record)
    if not any(of_host.values()):
        return Shortfall(request, host, Scope.NO_UNITS, aggregates)
    return _counted(request, host, offered, of_host)


def _counted(
    request: Request,
    host: str | None,
    offered: Mapping[str, HostRecord],
    of_host: Mapping[str, Sequence[UnitRecord]],
) -> Shortfall:
    units = [r.unit for records in of_host.values() for r in records]
    fits = [
        _Host(request, offered[name], records)
        for name, records in of_host.items()
    ]
    items = tuple(
        _item(item, [fit.items[number] for fit in fits])
        for number, item in enumerate(request.items)
    )
    ids = {
        f"{f.vendor_id:04x}:{f.product_id:04x}"
        for unit in units
        for f in unit.primaries
    }
    apart, most = None, None
    if all(item.is_enough for item in items):
        apart = _apart(request, fits)
        if apart is Apart.HOSTS:
            best = max(fits, key=lambda fit: fit.functions)
            most = (best.record.name, best.functions)
    nodes = frozenset(u.numa_node for u in units if u.numa_node is not None)
    return Shortfall(
        request=request,
        host=host,
        ids=tuple(sorted(ids)),
        items=items,
        absent_nodes=(request.numa_nodes or frozenset()) - nodes,
        nodes=nodes,
        apart=apart,
        most=most,
    )


class _Count:
    """How one item of a request fares on one host."""

    def __init__(self) -> None:
        self.units = self.free = self.functions = 0
        self.kept: collections.Counter[_Cause] = collections.Counter()


def _item(item: Item, counts: Sequence[_Count]) -> ItemShortfall:
    kept: collections.Counter[_Cause] = collections.Counter()
    for count in counts:
        kept.update(count.kept)
    return ItemShortfall(
        item,
        sum(count.units for count in counts),
        tuple(Kept(*key, kept[key]) for key in sorted(kept)),
        sum(count.free for count in counts),
        sum(count.functions for count in counts),
    )


class _Host:
    """How a request fares on one host."""

    def __init__(
        self,
        request: Request,
        record: HostRecord,
        records: Sequence[UnitRecord],
    ) -> None:
        self.record = record
        self._records = records
        self._rules = _rules(request, [r.unit for r in records])
        self.items = [_Count() for _ in request.items]
        for number, item in enumerate(request.items):
            for unit_record in records:
                self._count(request, item, number, unit_record)
        counts = [item.count for item in request.items]
        self.functions = sum(
            min(item.functions, count)
            for item, count in zip(self.items, counts, strict=True)
        )
        self.is_enough = self.functions == sum(counts)

    def _count(
        self, request: Request, item: Item, number: int, record: UnitRecord
    ) -> None:
        count, unit = self.items[number], record.unit
        mismatches = _mismatches(item, unit)
        if not mismatches:
            return
        count.units += 1
        obstacle = (
            _mismatch(request, unit, mismatches)
            or _occupied(record)
            or self._misplaced(number, unit)
        )
        if obstacle is None and self.record.is_cordoned:
            details = (self.record.name, self.record.reason)
            obstacle = (Obstacle.CORDONED, details)
        if obstacle is not None:
            count.kept[obstacle] += 1
            return
        count.free += 1
        count.functions += sum(
            item.alias.matches(f, unit.traits) for f in unit.functions
        )

    def _misplaced(self, number: int, unit: Unit) -> _Cause | None:
        at = NumaLocation(unit.numa_node, unit.socket)
        if self._rules is None or self._rules[number](at):
            return None
        node = unit.numa_node
        return Obstacle.NUMA_NODE, () if node is None else (str(node),)

    def satisfies(self, request: Request) -> bool:
        """Return whether the host's free units satisfy a request."""
        free = [r for r in self._records if r.is_claimable]
        taken = [r.unit for r in self._records if not r.is_claimable]
        units = [FreeUnit(r.unit, r.generation) for r in free]
        return bool(choice.candidates(request, units, taken, limit=1))


def _rules(
    request: Request, units: Iterable[Unit]
) -> tuple[LocationRule, ...] | None:
    """Return where units of each item may be; None for an untied instance."""
    if request.numa_nodes is None:
        return None
    sockets = {
        unit.numa_node: unit.socket
        for unit in units
        if unit.numa_node is not None and unit.socket is not None
    }
    return next(affinity.rule_sets(request, (), sockets))


def _is_identified(spec: Spec, function: UnitFunction) -> bool:
    """Return whether a function has a spec's ids and resource class."""
    own = resource_class.of_ids(function.vendor_id, function.product_id)
    return (
        spec.vendor_id in (None, function.vendor_id)
        and spec.product_id in (None, function.product_id)
        and spec.resource_class in (None, own)
    )


def _mismatches(item: Item, unit: Unit) -> list[_Cause | None]:
    """Return what of each function with an item's ids does not match."""
    return [
        _difference(spec, function, unit.traits)
        for spec in item.alias.specs
        for function in unit.functions
        if _is_identified(spec, function)
    ]


def _mismatch(
    request: Request, unit: Unit, mismatches: Sequence[_Cause | None]
) -> _Cause | None:
    """Return why none of a unit's functions counts: the nearest one's."""
    if None not in mismatches:
        return max(m for m in mismatches if m is not None)
    forbidden = sorted(unit.traits & request.forbidden_traits)
    return (Obstacle.TRAITS_FORBIDDEN, tuple(forbidden)) if forbidden else None


def _difference(
    spec: Spec, function: UnitFunction, traits: frozenset[str]
) -> _Cause | None:
    if not function.is_primary:
        return Obstacle.COMPANION, ()
    if function.device_type is not spec.device_type:
        return Obstacle.DEVICE_TYPE, (function.device_type.value,)
    if not spec.traits <= traits:
        return Obstacle.TRAITS_LACKING, tuple(sorted(spec.traits - traits))
    return None


def _occupied(record: UnitRecord) -> _Cause | None:
    """Return why a unit is not free."""
    if record.state is State.QUARANTINED:
        return Obstacle.QUARANTINED, (record.reason,)
    if record.state is not State.FREE:
        return Obstacle.HELD, (record.state.value, record.consumer or "")
    if record.is_missing:
        return Obstacle.MISSING, ()
    return None


def _apart(request: Request, fits: Iterable[_Host]) -> Apart:
    """Return why units that are enough in number do not fit together."""
    hosts = [fit for fit in fits if fit.is_enough]
    if not hosts:
        return Apart.HOSTS
    near = dataclasses.replace(request, same_switch=False)
    for relaxed, apart in (
        (request, Apart.NOTHING),
        (near, Apart.SWITCH),
        (_without_numa(request), Apart.NUMA),
        (_without_numa(near), Apart.NUMA_AND_SWITCH),
    ):
        if any(fit.satisfies(relaxed) for fit in hosts):
            return apart
    return Apart.SAME_FUNCTIONS


def _without_numa(request: Request) -> Request:
    """Return a request whose units may be on any NUMA node."""
    items = []
    for item in request.items:
        policy = NumaPolicy.PREFERRED
        alias = dataclasses.replace(item.alias, numa_policy=policy)
        items.append(Item(alias, item.count))
    return dataclasses.replace(request, items=tuple(items), numa_nodes=None)
