"""The ledger's statements, built once; a call binds its values.

Those that change a unit name the generation that they were decided on,
so that they change nothing when another was faster.
"""

from __future__ import annotations

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation.sql.schema import (
    allocation,
    consumer,
    host,
    unit,
    unit_function,
)
from gpu_passthrough_plugin.model.unit import State

# Reading.

_records = (
    sa.select(
        unit,
        host.c.name.label("host"),
        consumer.c.uuid.label("consumer"),
    )
    .join_from(unit, host)
    .outerjoin(allocation, allocation.c.unit_id == unit.c.id)
    .outerjoin(consumer, consumer.c.id == allocation.c.consumer_id)
)
_functions = sa.select(unit_function)
_of_host = host.c.name == sa.bindparam("host")
_host_id = sa.select(host.c.id).where(_of_host).scalar_subquery()

ALL_UNITS = _records
ALL_FUNCTIONS = _functions
HOST_UNITS = _records.where(_of_host)
HOST_FUNCTIONS = _functions.where(unit_function.c.host_id == _host_id)

_consumers = sa.select(
    consumer.c.uuid,
    consumer.c.request,
    consumer.c.numa_nodes,
    host.c.name.label("host"),
).join_from(consumer, host)
ALL_CONSUMERS = _consumers
CONSUMER = _consumers.where(consumer.c.uuid == sa.bindparam("uuid"))

HOST = sa.select(host.c.id, host.c.generation).where(_of_host)

# Claiming and moving.

ADD_CONSUMER = consumer.insert().values(host_id=_host_id)
ADD_ALLOCATIONS = allocation.insert()
CLAIM = (
    unit.update()
    .where(
        # Whatever else a unit must be to be claimed was read with its
        # generation, and could not change without it.
        sa.tuple_(unit.c.id, unit.c.generation).in_(
            sa.bindparam("free", expanding=True)
        )
    )
    .values(state=State.CLAIMED.value, generation=unit.c.generation + 1)
)
_this = sa.and_(
    unit.c.host_id == _host_id,
    unit.c.address == sa.bindparam("unit_address"),
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
        generation=unit.c.generation + 1,
    )
)
_this_unit = sa.select(unit.c.id).where(_this).scalar_subquery()
_of_unit = allocation.c.unit_id == _this_unit
HOLDER = sa.select(allocation.c.consumer_id).where(_of_unit)
FREE = allocation.delete().where(_of_unit)
FORGET = consumer.delete().where(
    consumer.c.id == sa.bindparam("consumer_id"),
    ~sa.exists().where(allocation.c.consumer_id == consumer.c.id),
)

# Publishing.

ADD_HOST = host.insert()
NEXT = (
    host.update()
    .where(
        host.c.id == sa.bindparam("host_id"),
        host.c.generation == sa.bindparam("old"),
    )
    .values(generation=host.c.generation + 1)
)
ADD_UNIT = unit.insert()
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
