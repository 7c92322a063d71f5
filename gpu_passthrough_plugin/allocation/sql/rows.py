"""How rows become values, and values rows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation.sql import statements
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    State,
    Unit,
    UnitFunction,
    UnitKey,
    UnitRecord,
)


class StoredUnit(NamedTuple):
    """A unit's record, the id of its row, and its consumer's request."""

    id: int
    record: UnitRecord
    request: str | None = None


def read_units(rows: sa.CursorResult[Any]) -> tuple[StoredUnit, ...]:
    """Return units from rows of one function each; by host and address.

    Columns are taken by position: by name they cost more than all the rest
    here.
    """
    functions: dict[int, list[UnitFunction]] = {}
    units: dict[int, sa.Row[Any]] = {}
    for row in rows:
        unit_id = row[0]
        if unit_id not in units:
            units[unit_id] = row
            functions[unit_id] = []
        if row[_FUNCTION.start] is not None:
            functions[unit_id].append(_function(*row[_FUNCTION]))
    return tuple(
        sorted(
            (_stored(row, functions[key]) for key, row in units.items()),
            key=lambda stored: stored.record.unit.key,
        )
    )


# Where a unit's columns end, and a function's.  Source: statements.
_UNIT = slice(0, len(statements.UNIT_COLUMNS))
_FUNCTION = slice(_UNIT.stop, _UNIT.stop + len(statements.FUNCTION_COLUMNS))


@functools.lru_cache(4096)
def _function(
    function_address: str,
    vendor_id: int,
    product_id: int,
    class_code: int,
    device_type: str,
    is_primary: bool,
) -> UnitFunction:
    """Return a function; hosts of one make share the cached value."""
    return UnitFunction(
        _address(function_address),
        vendor_id,
        product_id,
        class_code,
        DeviceType(device_type),
        is_primary,
    )


@functools.lru_cache(4096)
def _address(text: str) -> Address:
    return address.parse(text)


def _stored(row: sa.Row[Any], functions: list[UnitFunction]) -> StoredUnit:
    host, *allocated = row[_FUNCTION.stop :]
    consumer, request = allocated or (None, None)
    (
        unit_id,
        unit_address,
        iommu_group,
        numa_node,
        socket,
        switch,
        state,
        generation,
        is_missing,
        reason,
        traits,
    ) = row[_UNIT]
    functions.sort(key=lambda f: f.address)
    unit = Unit(
        key=UnitKey(host, _address(unit_address)),
        iommu_group=iommu_group,
        functions=tuple(functions),
        numa_node=numa_node,
        socket=socket,
        switch=None if switch is None else _address(switch),
        traits=_words(traits),
    )
    record = UnitRecord(
        unit=unit,
        state=_STATES[state],
        consumer=consumer,
        generation=generation,
        is_missing=is_missing,
        reason=reason,
    )
    return StoredUnit(unit_id, record, request)


_STATES = {state.value: state for state in State}


@functools.lru_cache(256)
def _words(text: str | None) -> frozenset[str]:
    return frozenset((text or "").split())


def allocations(units: Iterable[StoredUnit]) -> tuple[Allocation, ...]:
    """Return what the consumers of these units hold, by consumer."""
    by_consumer: dict[str, list[StoredUnit]] = {}
    for stored in units:
        by_consumer.setdefault(str(stored.record.consumer), []).append(stored)
    return tuple(
        Allocation(
            consumer,
            held[0].record.unit.key.host,
            str(held[0].request),
            tuple(stored.record for stored in held),
        )
        for consumer, held in sorted(by_consumer.items())
    )


def unit_values(record: UnitRecord) -> dict[str, object]:
    """Return the columns of a unit, except for its host and address."""
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
        "traits": " ".join(sorted(unit.traits)) or None,
    }


def function_values(
    host_id: int, unit_id: int, unit: Unit
) -> list[Mapping[str, object]]:
    """Return the rows of a unit's functions."""
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


def inserted_id(inserted: sa.CursorResult[Any]) -> int:
    """Return the id of the row that an INSERT added.

    :raises TypeError: when it added several rows, or none.
    """
    primary_key = inserted.inserted_primary_key
    if primary_key is None:
        raise TypeError("the statement added no single row")
    return int(primary_key[0])
