"""Rows as values, and values as rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    State,
    Unit,
    UnitFunction,
    UnitKey,
    UnitRecord,
)


class Stored(NamedTuple):
    """A record, the id of its row, and what its consumer asked for."""

    id: int
    record: UnitRecord
    request: str | None = None


def stored(found: sa.CursorResult[Any]) -> tuple[Stored, ...]:
    """Units from rows that have one function each; by host and address."""
    functions: dict[int, list[UnitFunction]] = {}
    units: dict[int, sa.Row[Any]] = {}
    for row in found:
        units[row.id] = row
        of_unit = functions.setdefault(row.id, [])
        if row.function_address is not None:
            of_unit.append(_function(*_of_function(row)))
    return tuple(
        sorted(
            (_stored(units[key], functions[key]) for key in units),
            key=lambda s: s.record.unit.key,
        )
    )


def _stored(row: sa.Row[Any], functions: list[UnitFunction]) -> Stored:
    held = row._mapping
    return Stored(
        row.id,
        _record(row, functions, held.get("consumer")),
        held.get("request"),
    )


def _of_function(row: sa.Row[Any]) -> tuple[Any, ...]:
    return (
        row.function_address,
        row.function_vendor_id,
        row.function_product_id,
        row.function_class_code,
        row.function_device_type,
        row.function_is_primary,
    )


@functools.lru_cache(4096)
def _function(
    at: str,
    vendor_id: int,
    product_id: int,
    class_code: int,
    device_type: str,
    is_primary: bool,
) -> UnitFunction:
    """A function; of the hosts of one make they are the same."""
    return UnitFunction(
        _address(at),
        vendor_id,
        product_id,
        class_code,
        DeviceType(device_type),
        is_primary,
    )


@functools.lru_cache(4096)
def _address(text: str) -> Address:
    return address.parse(text)


def _record(
    row: sa.Row[Any],
    functions: list[UnitFunction],
    consumer: str | None,
) -> UnitRecord:
    functions.sort(key=lambda f: f.address)
    unit = Unit(
        key=UnitKey(row.host, _address(row.address)),
        iommu_group=row.iommu_group,
        functions=tuple(functions),
        numa_node=row.numa_node,
        socket=row.socket,
        switch=None if row.switch is None else _address(row.switch),
        traits=_words(row.traits),
    )
    return UnitRecord(
        unit=unit,
        state=State(row.state),
        consumer=consumer,
        generation=row.generation,
        is_missing=row.is_missing,
        reason=row.reason,
    )


@functools.lru_cache(256)
def _words(text: str | None) -> frozenset[str]:
    return frozenset((text or "").split())


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
        "traits": " ".join(sorted(unit.traits)) or None,
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
