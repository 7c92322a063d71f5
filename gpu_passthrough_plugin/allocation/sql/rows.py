"""Rows as values, and values as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation.sql import statements
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    State,
    Unit,
    UnitFunction,
    UnitKey,
    UnitRecord,
)


class Stored(NamedTuple):
    """A record, and the id of its row."""

    id: int
    record: UnitRecord


def stored(
    connection: sa.Connection, host: str | None = None
) -> tuple[Stored, ...]:
    """Every unit, or those of one host; by host and address."""
    if host is None:
        units = connection.execute(statements.ALL_UNITS)
        functions = connection.execute(statements.ALL_FUNCTIONS)
    else:
        bound = {"host": host}
        units = connection.execute(statements.HOST_UNITS, bound)
        functions = connection.execute(statements.HOST_FUNCTIONS, bound)
    of_unit: dict[int, list[UnitFunction]] = {}
    for row in functions:
        of_unit.setdefault(row.unit_id, []).append(_function(row))
    found = [
        Stored(row.id, _record(row, of_unit.get(row.id, ()))) for row in units
    ]
    return tuple(sorted(found, key=lambda s: s.record.unit.key))


def _function(row: sa.Row[Any]) -> UnitFunction:
    return UnitFunction(
        address.parse(row.address),
        row.vendor_id,
        row.product_id,
        row.class_code,
        DeviceType(row.device_type),
        row.is_primary,
    )


def _record(row: sa.Row[Any], functions: Iterable[UnitFunction]) -> UnitRecord:
    unit = Unit(
        key=UnitKey(row.host, address.parse(row.address)),
        iommu_group=row.iommu_group,
        functions=tuple(sorted(functions, key=lambda f: f.address)),
        numa_node=row.numa_node,
        socket=row.socket,
        switch=None if row.switch is None else address.parse(row.switch),
    )
    return UnitRecord(
        unit=unit,
        state=State(row.state),
        consumer=row.consumer,
        generation=row.generation,
        is_missing=row.is_missing,
        reason=row.reason,
    )


def unit_values(record: UnitRecord) -> dict[str, object]:
    """The columns of a unit, but for its host and address."""
    unit = record.unit
    return {
        "iommu_group": unit.iommu_group,
        "resource_class": unit.resource_class,
        "numa_node": unit.numa_node,
        "socket": unit.socket,
        "switch": None if unit.switch is None else str(unit.switch),
        "state": record.state.value,
        "generation": record.generation,
        "is_missing": record.is_missing,
        "reason": record.reason,
    }


def function_values(
    host_id: int, unit_id: int, unit: Unit
) -> list[Mapping[str, object]]:
    """The rows of a unit's functions."""
    return [
        {
            "host_id": host_id,
            "address": str(function.address),
            "unit_id": unit_id,
            "vendor_id": function.vendor_id,
            "product_id": function.product_id,
            "class_code": function.class_code,
            "device_type": function.device_type.value,
            "is_primary": function.is_primary,
        }
        for function in unit.functions
    ]


def key(added: sa.CursorResult[Any]) -> int:
    """The id of the row that an INSERT added."""
    primary_key = added.inserted_primary_key
    if primary_key is None:
        raise TypeError("the statement added no single row")
    return int(primary_key[0])
