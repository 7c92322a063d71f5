"""How rows become values, and values rows.

Other hosts write rows too: each unit's are checked for themselves, and a
unit whose rows are malformed is left out instead of failing its readers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.capacity import DeviceModel
from gpu_passthrough_plugin.allocation.sql import statements
from gpu_passthrough_plugin.allocation.sql.schema import MAX_NUMBER
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    MalformedUnit,
)
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    State,
    Unit,
    UnitFunction,
    UnitKey,
    UnitRecord,
)

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class StoredUnit(NamedTuple):
    """A unit's record, the id of its row, and its consumer's request."""

    id: int
    record: UnitRecord
    request: str | None = None


class MalformedRows(NamedTuple):
    """A unit whose rows are malformed.

    :param id: of its row.
    :param addresses: of the unit and its functions, as they are stored.
    :param generation: 0 if that is malformed too.
    :param is_held: whether it is allocated to a consumer.
    """

    id: int
    unit: MalformedUnit
    addresses: frozenset[str]
    generation: int
    is_held: bool


class UnitRows(NamedTuple):
    """Units by host and address, and those whose rows are malformed."""

    units: tuple[StoredUnit, ...]
    malformed: tuple[MalformedRows, ...]


def read_units(rows: sa.CursorResult[Any]) -> tuple[StoredUnit, ...]:
    """Return units from rows of one function each; by host and address.

    Units whose rows are malformed are left out.
    """
    return read_rows(rows).units


def read_rows(rows: sa.CursorResult[Any]) -> UnitRows:
    """Return units, and those that are malformed, from the same rows.

    Columns are taken by position: by name they cost more than all the rest
    here.
    """
    functions: dict[int, list[sa.Row[Any]]] = {}
    for row in rows:
        functions.setdefault(row[0], []).append(row)
    units = []
    malformed = []
    for of_unit in functions.values():
        try:
            units.append(_stored(of_unit))
        except errors.Invalid as error:
            malformed.append(_malformed(of_unit, str(error)))
    units.sort(key=lambda stored: stored.record.unit.key)
    malformed.sort(key=lambda rows: (rows.unit.host, rows.id))
    return UnitRows(tuple(units), tuple(malformed))


# Where a unit's columns end, and a function's.  Source: statements.
_UNIT = slice(0, len(statements.UNIT_COLUMNS))
_FUNCTION = slice(_UNIT.stop, _UNIT.stop + len(statements.FUNCTION_COLUMNS))
_GENERATION = [column.name for column in statements.UNIT_COLUMNS].index(
    "generation"
)


def _stored(rows: list[sa.Row[Any]]) -> StoredUnit:
    """Return the unit of some rows.

    :param rows: one for each function, or one without a function.
    :raises Invalid: when one of its values cannot be what it is to be.
    """
    row = rows[0]
    host, consumer_id, *consumed = row[_FUNCTION.stop :]
    consumer, request = consumed or (None, None)
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
    functions = _functions(rows)
    own_address = _address(unit_address)
    if own_address not in {f.address for f in functions if f.is_primary}:
        raise errors.Invalid(
            f"no primary function of it has its address {own_address}"
        )
    unit = Unit(
        key=UnitKey(_text("host name", host), own_address),
        iommu_group=_number("iommu_group", iommu_group),
        functions=functions,
        numa_node=_number_or_none("numa_node", numa_node),
        socket=_number_or_none("socket", socket, -1),
        switch=None if switch is None else _address(switch, "switch"),
        traits=_words(traits),
    )
    record = UnitRecord(
        unit=unit,
        state=_state(state),
        consumer=None if consumer is None else _consumer(consumer),
        generation=_number("generation", generation),
        is_missing=is_missing,
        reason=_text("reason", reason),
    )
    if record.state.is_held != (consumer_id is not None):
        holder = "no consumer" if consumer_id is None else "a consumer"
        raise errors.Invalid(f"its state is {record.state}, with {holder}")
    return StoredUnit(unit_id, record, request)


def _functions(rows: list[sa.Row[Any]]) -> tuple[UnitFunction, ...]:
    """Return the functions of a unit's rows, by address."""
    functions = [
        _function(*row[_FUNCTION])
        for row in rows
        if row[_FUNCTION.start] is not None
    ]
    return tuple(sorted(functions, key=lambda f: f.address))


def _malformed(rows: list[sa.Row[Any]], problem: str) -> MalformedRows:
    """Return an account of a unit that ``_stored`` cannot return."""
    row = rows[0]
    unit_id, unit_address, *_ = row[_UNIT]
    host, consumer_id, *consumed = row[_FUNCTION.stop :]
    functions = (r[_FUNCTION.start] for r in rows)
    consumer = consumed[0] if consumed else None
    return MalformedRows(
        unit_id,
        MalformedUnit(
            host=host if isinstance(host, str) else repr(host),
            name=str(unit_id),
            address=str(unit_address),
            problem=problem,
            consumer=None if consumer is None else str(consumer),
        ),
        frozenset(str(a) for a in (unit_address, *functions) if a is not None),
        count(row[_GENERATION]),
        is_held=consumer_id is not None,
    )


@functools.lru_cache(4096)
def _function(
    function_address: object,
    vendor_id: object,
    product_id: object,
    class_code: object,
    device_type: object,
    is_primary: bool,
) -> UnitFunction:
    """Return a function; hosts of one make share the cached value."""
    return UnitFunction(
        _address(function_address, "function's address"),
        *_vendor_and_product(vendor_id, product_id),
        _number("class_code", class_code, most=0xFFFFFF),
        _device_type(device_type),
        is_primary,
    )


@functools.lru_cache(4096)
def device_model(
    vendor_id: object, product_id: object, device_type: object
) -> DeviceModel:
    """Return the device model of a row.

    :raises Invalid: when one of its values is malformed.
    """
    return DeviceModel(
        *_vendor_and_product(vendor_id, product_id), _device_type(device_type)
    )


def _vendor_and_product(
    vendor_id: object, product_id: object
) -> tuple[int, int]:
    return (
        _number("vendor_id", vendor_id, most=0xFFFF),
        _number("product_id", product_id, most=0xFFFF),
    )


def _device_type(value: object) -> DeviceType:
    if isinstance(value, str) and value in _DEVICE_TYPES:
        return DeviceType(value)
    raise errors.not_valid("device_type", value, ", ".join(DeviceType))


_DEVICE_TYPES = frozenset(DeviceType)


@functools.lru_cache(4096)
def _address(value: object, name: str = "address") -> Address:
    try:
        parsed = address.parse(value if isinstance(value, str) else "")
    except errors.Invalid:
        parsed = None
    # Statements find a unit by its address as text.
    if parsed is None or str(parsed) != value:
        raise errors.not_valid(name, value, "one such as 0000:06:00.0")
    return parsed


def _number(
    name: str, value: object, least: int = 0, most: int = MAX_NUMBER
) -> int:
    if isinstance(value, int) and least <= value <= most:
        return value
    raise errors.not_valid(name, value, f"a number from {least} to {most}")


def count(value: object) -> int:
    """Return a generation; 0 if that is malformed."""
    try:
        return _number("generation", value)
    except errors.Invalid:
        return 0


def _number_or_none(name: str, value: object, least: int = 0) -> int | None:
    return None if value is None else _number(name, value, least)


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise errors.not_valid(name, value, "text")


def _state(value: object) -> State:
    if isinstance(value, str) and value in _STATES:
        return _STATES[value]
    raise errors.not_valid("state", value, ", ".join(State))


_STATES = {state.value: state for state in State}


@functools.lru_cache(256)
def _words(value: object) -> frozenset[str]:
    words = "" if value is None else _text("traits", value)
    return frozenset(words.split())


@functools.lru_cache(256)
def _consumer(value: object) -> str:
    if isinstance(value, str) and _UUID.fullmatch(value):
        return value
    raise errors.not_valid("consumer", value, "a UUID")


def host_problem(row: sa.Row[Any]) -> str:
    """Return what is wrong with a host's row; "" if nothing is."""
    try:
        _text("host name", row.name)
        _number("generation", row.generation)
        _number("highest_generation", row.highest_generation)
        _text("machine", row.machine)
    except errors.Invalid as error:
        return str(error)
    return ""


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
