"""The ledger's SQL statements, built once; each call binds values.

A statement that changes a unit names the generation at which that was
decided, so that it changes nothing if another client was faster.
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

# Reading: units with their functions in one statement.  Two statements
# could each see another committed state.

UNIT_COLUMNS: tuple[sa.ColumnElement[Any], ...] = (
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
FUNCTION_COLUMNS = (
    unit_function.c.address,
    unit_function.c.vendor_id,
    unit_function.c.product_id,
    unit_function.c.class_code,
    unit_function.c.device_type,
    unit_function.c.is_primary,
)
_RECORD_COLUMNS: tuple[sa.ColumnElement[Any], ...] = (
    *UNIT_COLUMNS,
    *(column.label(f"function_{column.name}") for column in FUNCTION_COLUMNS),
    host.c.name.label("host"),
    allocation.c.consumer_id,
)
_units = (
    sa.select(*_RECORD_COLUMNS)
    .join_from(unit, host)
    # Another host's row that names this unit is none of its functions.
    .outerjoin(
        unit_function,
        sa.and_(
            unit_function.c.unit_id == unit.c.id,
            unit_function.c.host_id == unit.c.host_id,
        ),
    )
    .outerjoin(allocation, allocation.c.unit_id == unit.c.id)
)
_records = _units.add_columns(
    consumer.c.uuid.label("consumer"), consumer.c.request.label("request")
).outerjoin(consumer, consumer.c.id == allocation.c.consumer_id)
_is_host = host.c.name == sa.bindparam("host")
_host_id = sa.select(host.c.id).where(_is_host).scalar_subquery()
_is_unit = sa.and_(
    unit.c.host_id == _host_id,
    unit.c.address == sa.bindparam("unit_address"),
)
_in_states = unit.c.state.in_(sa.bindparam("states", expanding=True))

ALL_UNITS = _records
HOST_UNITS = _records.where(_is_host)
ALL_UNITS_IN_STATES = _records.where(_in_states)
HOST_UNITS_IN_STATES = _records.where(_is_host, _in_states)
ONE_UNIT = _records.where(_is_unit)
# What a consumer has on another host than its own is not its allocation.
_is_of_consumer = consumer.c.host_id == unit.c.host_id
HELD_UNITS = _records.where(_is_of_consumer)
CONSUMER_UNITS = _records.where(
    _is_of_consumer, consumer.c.uuid == sa.bindparam("uuid")
)
UNIT_COUNT = sa.select(sa.func.count(unit.c.id))
# Of a host that a claim looks at, to which consumers do not matter.
UNITS_BY_HOST_ID = _units.where(unit.c.host_id == sa.bindparam("host_id"))

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

HOST = sa.select(host).where(_is_host)
HOSTS = sa.select(host, host_aggregate.c.name.label("aggregate")).outerjoin(
    host_aggregate, host_aggregate.c.host_id == host.c.id
)
ONE_HOST = HOSTS.where(_is_host)
ADD_HOST = host.insert()
# A writer locks exactly one host row, so writers cannot deadlock.
LOCK_HOST = sa.select(host).where(_is_host).with_for_update()
_offered = sa.select(host.c.id).where(
    host.c.id == sa.bindparam("host_id"), host.c.disabled_reason.is_(None)
)
LOCK_OFFERED = _offered.with_for_update()
LOCK_OFFERED_IF_IDLE = _offered.with_for_update(skip_locked=True)
SET_CORDON = (
    host.update()
    .where(host.c.id == sa.bindparam("host_id"))
    .values(disabled_reason=sa.bindparam("why"))
)
SET_WATCHED = (
    host.update().where(_is_host).values(is_watched=sa.bindparam("watched"))
)
SET_PUBLISHED = (
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

# Which hosts a claim looks at.

DEVICE_MODELS = sa.select(card)
ADD_DEVICE_MODELS = card.insert()


class PageQuery(NamedTuple):
    """How a page of hosts is selected and ordered.

    :param others: for how many further items the host must have enough:
        ``number_N`` primaries of the device models ``models_N``.
    """

    weight: Weight
    others: int = 0
    is_in_aggregate: bool = False


@functools.lru_cache(64)
def host_page(query: PageQuery) -> sa.Select[tuple[int, int]]:
    """Select hosts with ``need`` free primaries of a model in a place.

    Ordered by weight: ascending by free primaries and host for ``pack``,
    descending for ``spread``.
    """
    free, host_id = supply.c.free, supply.c.host_id
    from_free = sa.bindparam("from_free", type_=sa.Integer)
    after = sa.bindparam("after", type_=sa.Integer)
    hosts = sa.select(host_id, free).where(
        supply.c.card_id == sa.bindparam("model_id"),
        supply.c.place == sa.bindparam("place"),
    )
    # The page after the last one: one range of the index, without its first
    # rows.
    if query.weight is Weight.PACK:
        hosts = hosts.where(
            free >= from_free, sa.or_(free > from_free, host_id > after)
        ).order_by(free, host_id)
    else:
        hosts = hosts.where(
            free >= sa.bindparam("need"),
            free <= from_free,
            sa.or_(free < from_free, host_id < after),
        ).order_by(free.desc(), host_id.desc())
    if query.is_in_aggregate:
        hosts = hosts.where(_in_aggregate(host_id))
    for number in range(query.others):
        hosts = hosts.where(
            _free_anywhere(number) >= sa.bindparam(f"number_{number}")
        )
    return hosts.limit(sa.bindparam("most", type_=sa.Integer))


@functools.lru_cache(64)
def lock_first_idle(query: PageQuery) -> sa.Select[tuple[int, int]]:
    """Lock the first host of a page that no other client has locked.

    Only this host is locked.  PostgreSQL locks the rows that it returns.
    MariaDB locks the rows that it reads, so it is made to sort the page
    first and then to look hosts up one by one; for few hosts it would
    otherwise read all of them and sort afterwards.
    """
    best = host_page(query).subquery()
    order: list[sa.ColumnElement[int]] = [best.c.free, best.c.host_id]
    if query.weight is Weight.SPREAD:
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


def _free_anywhere(number: int) -> sa.ColumnElement[int]:
    """Count the same host's free primaries of ``models_N`` anywhere."""
    other = supply.alias(f"other_{number}")
    ids: sa.BindParameter[int]
    ids = sa.bindparam(f"models_{number}", expanding=True)
    return (
        sa.select(sa.func.coalesce(sa.func.sum(other.c.free), 0))
        .where(
            other.c.host_id == supply.c.host_id,
            other.c.place == Place.ANYWHERE.value,
            other.c.card_id.in_(ids),
        )
        .scalar_subquery()
    )


OFFERED_HOST = sa.select(host.c.id.label("host_id")).where(
    _is_host, host.c.disabled_reason.is_(None)
)
OFFERED_HOST_IN_AGGREGATE = OFFERED_HOST.where(_in_aggregate(host.c.id))

# The free primaries of hosts.

FREE_COUNTS = sa.select(supply).where(
    supply.c.host_id == sa.bindparam("host_id")
)
ADD_FREE_COUNTS = supply.insert()
REMOVE_FREE_COUNTS = supply.delete().where(
    supply.c.host_id == sa.bindparam("host_id")
)


@functools.lru_cache(64)
def set_free_counts(rows: int) -> sa.Update:
    """Set ``model_N`` in ``place_N`` to ``free_N``, for so many rows.

    In one statement, which is one round trip to the server.
    """
    ours = supply.c
    which = [
        sa.and_(
            ours.card_id == sa.bindparam(f"model_{n}"),
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
_claimed_values = {
    "state": State.CLAIMED.value,
    "generation": unit.c.generation + 1,
}
# What else makes a unit claimable was read with its generation, and cannot
# change without it.
CLAIM_UNIT = (
    unit.update()
    .where(
        unit.c.id == sa.bindparam("unit_id"),
        unit.c.generation == sa.bindparam("old"),
    )
    .values(**_claimed_values)
)
CLAIM_UNITS = (
    unit.update()
    .where(
        unit.c.id.in_(sa.bindparam("units", expanding=True)),
        sa.tuple_(unit.c.id, unit.c.generation).in_(
            sa.bindparam("free", expanding=True)
        ),
    )
    .values(**_claimed_values)
)
MOVE_UNIT = (
    unit.update()
    .where(
        _is_unit,
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
MOVED_UNIT = sa.select(unit.c.generation, unit.c.token).where(_is_unit)
_unit_id = sa.select(unit.c.id).where(_is_unit).scalar_subquery()
_is_of_unit = allocation.c.unit_id == _unit_id
UNIT_CONSUMER_ID = sa.select(allocation.c.consumer_id).where(_is_of_unit)
REMOVE_ALLOCATION = allocation.delete().where(_is_of_unit)
REMOVE_IDLE_CONSUMER = consumer.delete().where(
    consumer.c.id == sa.bindparam("consumer_id"),
    ~sa.exists().where(allocation.c.consumer_id == consumer.c.id),
)

# Publishing.

ADD_UNITS = unit.insert()
UNIT_IDS = sa.select(unit.c.id, unit.c.address).where(
    unit.c.host_id == sa.bindparam("host_id")
)
ADD_FUNCTIONS = unit_function.insert()
_is_unchanged = sa.and_(
    unit.c.id == sa.bindparam("unit_id"),
    unit.c.generation == sa.bindparam("old"),
)
CHANGE_UNIT = unit.update().where(_is_unchanged)
REMOVE_UNIT = unit.delete().where(_is_unchanged)
# Nobody else can change one: it has no valid generation, or none is used.
REMOVE_MALFORMED_UNIT = unit.delete().where(
    unit.c.id == sa.bindparam("unit_id")
)
REMOVE_FUNCTIONS = unit_function.delete().where(
    unit_function.c.unit_id == sa.bindparam("unit_id")
)
