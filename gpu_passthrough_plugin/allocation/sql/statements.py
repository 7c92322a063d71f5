"""The ledger's statements, built once; a call binds its values.

Those that change a unit name the generation that they were decided on,
so that they change nothing when another was faster.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation.capacity import Place
from gpu_passthrough_plugin.allocation.sql.schema import (
    allocation,
    card,
    consumer,
    host,
    host_aggregate,
    supply,
    unit,
    unit_function,
)
from gpu_passthrough_plugin.model.allocation import Weight
from gpu_passthrough_plugin.model.unit import State

# Reading: units with their functions, in one statement.  Of two, each
# would see what was committed when it began.

UNIT: tuple[sa.ColumnElement[Any], ...] = (
    unit.c.id,
    unit.c.address,
    unit.c.iommu_group,
    unit.c.numa_node,
    unit.c.socket,
    unit.c.switch,
    unit.c.state,
    unit.c.generation,
    unit.c.is_missing,
    unit.c.reason,
    unit.c.traits,
)
FUNCTION = (
    unit_function.c.address,
    unit_function.c.vendor_id,
    unit_function.c.product_id,
    unit_function.c.class_code,
    unit_function.c.device_type,
    unit_function.c.is_primary,
)
_WHOLE: tuple[sa.ColumnElement[Any], ...] = (
    *UNIT,
    *(column.label(f"function_{column.name}") for column in FUNCTION),
    host.c.name.label("host"),
)
_units = (
    sa.select(*_WHOLE)
    .join_from(unit, host)
    .outerjoin(unit_function, unit_function.c.unit_id == unit.c.id)
)
_records = (
    sa.select(
        *_WHOLE,
        consumer.c.uuid.label("consumer"),
        consumer.c.request.label("request"),
    )
    .join_from(unit, host)
    .outerjoin(unit_function, unit_function.c.unit_id == unit.c.id)
    .outerjoin(allocation, allocation.c.unit_id == unit.c.id)
    .outerjoin(consumer, consumer.c.id == allocation.c.consumer_id)
)
_of_host = host.c.name == sa.bindparam("host")
_host_id = sa.select(host.c.id).where(_of_host).scalar_subquery()
_this = sa.and_(
    unit.c.host_id == _host_id,
    unit.c.address == sa.bindparam("unit_address"),
)
_in_states = unit.c.state.in_(sa.bindparam("states", expanding=True))

ALL_UNITS = _records
HOST_UNITS = _records.where(_of_host)
UNITS_IN = _records.where(_in_states)
HOST_UNITS_IN = _records.where(_of_host, _in_states)
ONE_UNIT = _records.where(_this)
HELD_UNITS = _records.where(consumer.c.id.is_not(None))
UNITS_OF = _records.where(consumer.c.uuid == sa.bindparam("uuid"))
UNIT_COUNT = sa.select(sa.func.count(unit.c.id))
# Of a host that a claim looks at: who holds what does not matter to it.
FREE_AND_TAKEN = _units.where(unit.c.host_id == sa.bindparam("host_id"))

CONSUMER = (
    sa.select(
        consumer.c.request,
        consumer.c.numa_nodes,
        consumer.c.terms,
        host.c.name.label("host"),
        sa.exists()
        .where(
            host_aggregate.c.host_id == host.c.id,
            host_aggregate.c.name == sa.bindparam("aggregate"),
        )
        .label("is_in_aggregate"),
    )
    .join_from(consumer, host)
    .where(consumer.c.uuid == sa.bindparam("uuid"))
)

# Hosts.

HOST = sa.select(host).where(_of_host)
HOSTS = sa.select(host, host_aggregate.c.name.label("aggregate")).outerjoin(
    host_aggregate, host_aggregate.c.host_id == host.c.id
)
ONE_HOST = HOSTS.where(_of_host)
ADD_HOST = host.insert()
# Whoever changes a host's units holds its row, and none but one: so that
# nobody waits for another who waits for him.
LOCK_NAMED = sa.select(host).where(_of_host).with_for_update()
_offered = sa.select(host.c.id).where(
    host.c.id == sa.bindparam("host_id"), host.c.disabled_reason.is_(None)
)
LOCK = _offered.with_for_update()
LOCK_IF_IDLE = _offered.with_for_update(skip_locked=True)
DISABLE = (
    host.update()
    .where(host.c.id == sa.bindparam("host_id"))
    .values(disabled_reason=sa.bindparam("why"))
)
PUBLISHED = (
    host.update()
    .where(
        host.c.id == sa.bindparam("host_id"),
        host.c.generation == sa.bindparam("old"),
    )
    .values(
        generation=sa.bindparam("new"),
        machine=sa.bindparam("by"),
        published=sa.bindparam("digest"),
        highest_generation=sa.bindparam("highest"),
    )
)
AGGREGATES = sa.select(host_aggregate.c.name).where(
    host_aggregate.c.host_id == sa.bindparam("host_id")
)
REMOVE_AGGREGATES = host_aggregate.delete().where(
    host_aggregate.c.host_id == sa.bindparam("host_id")
)
ADD_AGGREGATES = host_aggregate.insert()

# Where to look.

CARDS = sa.select(card)
ADD_CARDS = card.insert()


class Kind(NamedTuple):
    """What a page of hosts is chosen by.

    :param others: of how many items more it is to be known that the host
        has enough: card ids ``cards_N``, ``number_N`` of them.
    """

    weight: Weight
    others: int = 0
    is_in_aggregate: bool = False


@functools.lru_cache(64)
def page(kind: Kind) -> sa.Select[tuple[int, int]]:
    """Hosts that have ``need`` primaries of a card in a place, by weight."""
    free, host_id = supply.c.free, supply.c.host_id
    from_free = sa.bindparam("from_free", type_=sa.Integer)
    after = sa.bindparam("after", type_=sa.Integer)
    found = sa.select(host_id, free).where(
        supply.c.card_id == sa.bindparam("card_id"),
        supply.c.place == sa.bindparam("place"),
    )
    # The page after the last: one range of the index, and its first rows
    # left out.
    if kind.weight is Weight.PACK:
        found = found.where(
            free >= from_free, sa.or_(free > from_free, host_id > after)
        ).order_by(free, host_id)
    else:
        found = found.where(
            free >= sa.bindparam("need"),
            free <= from_free,
            sa.or_(free < from_free, host_id < after),
        ).order_by(free.desc(), host_id.desc())
    if kind.is_in_aggregate:
        found = found.where(_in_aggregate(host_id))
    for number in range(kind.others):
        found = found.where(
            _supplied(number) >= sa.bindparam(f"number_{number}")
        )
    return found.limit(sa.bindparam("most", type_=sa.Integer))


@functools.lru_cache(64)
def idle(kind: Kind) -> sa.Select[tuple[int, int]]:
    """Hold the first host of a page that nobody else holds.

    Of the others none is held.  PostgreSQL holds what it has sorted and
    gives back.  MariaDB holds what it reads: it has to sort the page first
    and then look hosts up one by one, where for a few hosts it would read
    all of them, and sort after that.
    """
    best = page(kind).subquery()
    order: list[sa.ColumnElement[int]] = [best.c.free, best.c.host_id]
    if kind.weight is Weight.SPREAD:
        order = [column.desc() for column in order]
    return (
        sa.select(host.c.id.label("host_id"), best.c.free)
        .prefix_with("STRAIGHT_JOIN", dialect="mysql")
        .with_hint(host, "FORCE INDEX (PRIMARY)", "mysql")
        .join_from(best, host, host.c.id == best.c.host_id)
        .where(host.c.disabled_reason.is_(None))
        .order_by(*order)
        .limit(1)
        .with_for_update(of=host, skip_locked=True)
    )


def _in_aggregate(
    host_id: sa.ColumnElement[int],
) -> sa.ColumnElement[bool]:
    return sa.exists().where(
        host_aggregate.c.host_id == host_id,
        host_aggregate.c.name == sa.bindparam("aggregate"),
    )


def _supplied(number: int) -> sa.ColumnElement[int]:
    """How many primaries of some cards the same host has anywhere."""
    other = supply.alias(f"other_{number}")
    ids: sa.BindParameter[int]
    ids = sa.bindparam(f"cards_{number}", expanding=True)
    return (
        sa.select(sa.func.coalesce(sa.func.sum(other.c.free), 0))
        .where(
            other.c.host_id == supply.c.host_id,
            other.c.place == Place.ANYWHERE.value,
            other.c.card_id.in_(ids),
        )
        .scalar_subquery()
    )


NAMED = sa.select(host.c.id.label("host_id")).where(
    _of_host, host.c.disabled_reason.is_(None)
)
NAMED_IN_AGGREGATE = NAMED.where(_in_aggregate(host.c.id))

# What hosts supply.

SUPPLY = sa.select(supply).where(supply.c.host_id == sa.bindparam("host_id"))
ADD_SUPPLY = supply.insert()
REMOVE_SUPPLY = supply.delete().where(
    supply.c.host_id == sa.bindparam("host_id")
)


@functools.lru_cache(64)
def supply_update(rows: int) -> sa.Update:
    """Set so many rows of a host: ``card_N`` in ``place_N`` to ``free_N``.

    One statement, because each of several is a way to the server.
    """
    ours = supply.c
    which = [
        sa.and_(
            ours.card_id == sa.bindparam(f"card_{n}"),
            ours.place == sa.bindparam(f"place_{n}"),
        )
        for n in range(rows)
    ]
    values = sa.case(
        *(
            (this, sa.bindparam(f"free_{n}", type_=sa.Integer))
            for n, this in enumerate(which)
        ),
        else_=ours.free,
    )
    return (
        supply.update()
        .where(ours.host_id == sa.bindparam("of_host"), sa.or_(*which))
        .values(free=values)
    )


# Claiming and moving.

ADD_CONSUMER = consumer.insert()
ADD_ALLOCATIONS = allocation.insert()
_claimed = {
    "state": State.CLAIMED.value,
    "generation": unit.c.generation + 1,
}
# Whatever else a unit must be to be claimed was read with its generation,
# and could not change without it.
CLAIM_ONE = (
    unit.update()
    .where(
        unit.c.id == sa.bindparam("unit_id"),
        unit.c.generation == sa.bindparam("old"),
    )
    .values(**_claimed)
)
CLAIM = (
    unit.update()
    .where(
        unit.c.id.in_(sa.bindparam("units", expanding=True)),
        sa.tuple_(unit.c.id, unit.c.generation).in_(
            sa.bindparam("free", expanding=True)
        ),
    )
    .values(**_claimed)
)
MOVE = (
    unit.update()
    .where(
        _this,
        unit.c.generation == sa.bindparam("old"),
        unit.c.state == sa.bindparam("old_state"),
    )
    .values(
        state=sa.bindparam("new_state"),
        reason=sa.bindparam("new_reason"),
        token=sa.bindparam("new_token"),
        generation=unit.c.generation + 1,
    )
)
MOVED = sa.select(unit.c.generation, unit.c.token).where(_this)
_this_unit = sa.select(unit.c.id).where(_this).scalar_subquery()
_of_unit = allocation.c.unit_id == _this_unit
HOLDER = sa.select(allocation.c.consumer_id).where(_of_unit)
FREE = allocation.delete().where(_of_unit)
FORGET = consumer.delete().where(
    consumer.c.id == sa.bindparam("consumer_id"),
    ~sa.exists().where(allocation.c.consumer_id == consumer.c.id),
)

# Publishing.

ADD_UNITS = unit.insert()
UNIT_IDS = sa.select(unit.c.id, unit.c.address).where(
    unit.c.host_id == sa.bindparam("host_id")
)
ADD_FUNCTIONS = unit_function.insert()
_guarded = sa.and_(
    unit.c.id == sa.bindparam("unit_id"),
    unit.c.generation == sa.bindparam("old"),
)
CHANGE_UNIT = unit.update().where(_guarded)
REMOVE_UNIT = unit.delete().where(_guarded)
REMOVE_FUNCTIONS = unit_function.delete().where(
    unit_function.c.unit_id == sa.bindparam("unit_id")
)
