"""Rows as values, and values as rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation.sql import statements
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
    """Units from rows that have one function each; by host and address.

    Columns go by their position: by their name they cost more than all
    the rest here.
    """
    functions: dict[int, list[UnitFunction]] = {}
    units: dict[int, sa.Row[Any]] = {}
    for row in found:
        key = row[0]
        if key not in units:
            units[key] = row
            functions[key] = []
        if row[_FUNCTION.start] is not None:
            functions[key].append(_function(*row[_FUNCTION]))
    return tuple(
        sorted(
            (_stored(row, functions[key]) for key, row in units.items()),
            key=lambda s: s.record.unit.key,
        )
    )


# Where a unit's columns end, and a function's.  Source: statements.
_UNIT = slice(0, len(statements.UNIT))
_FUNCTION = slice(_UNIT.stop, _UNIT.stop + len(statements.FUNCTION))


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


def _stored(row: sa.Row[Any], functions: list[UnitFunction]) -> Stored:
    host, *held = row[_FUNCTION.stop :]
    consumer, request = held or (None, None)
    (
        key,
        place,
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
        key=UnitKey(host, _address(place)),
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
    return Stored(key, record, request)


_STATES = {state.value: state for state in State}


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
