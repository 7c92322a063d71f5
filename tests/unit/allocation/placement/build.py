"""Units of a ledger in Placement, as the tests need them."""

from __future__ import annotations

from gpu_passthrough_plugin.allocation.placement import (
    names,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.reading import (
    Fleet,
    StoredUnit,
)
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Usage,
)
from gpu_passthrough_plugin.model.unit import Unit
from tests.unit.allocation.build import unit

FIRST = state_counter.first_after(0)
A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"


def stored(found: Unit, of: StateCounter = FIRST) -> StoredUnit:
    made = reading.stored_unit(
        str(found.key), found.key.host, names.unit_traits(found), of, Usage()
    )
    assert made is not None
    return made


def found_on(*numbers: int) -> Fleet:
    """Hosts a, b, … with so many free units."""
    hosts = [
        reading.Host(name, name, 0, name, 0, frozenset(), False)
        for name in "abcdef"[: len(numbers)]
    ]
    units = [
        stored(unit(bus, host=host.name))
        for host, number in zip(hosts, numbers, strict=True)
        for bus in range(1, number + 1)
    ]
    return Fleet(tuple(hosts), tuple(units))
