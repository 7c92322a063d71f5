"""Units and hosts of a ledger in Placement, as the tests need them."""

from __future__ import annotations

from gpu_passthrough_plugin.allocation.placement import (
    names,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.fleet import (
    Fleet,
    Host,
    StoredUnit,
    stored_unit,
)
from gpu_passthrough_plugin.allocation.placement.service import Reply
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Usage,
)
from gpu_passthrough_plugin.model.unit import Unit
from tests.unit.allocation.build import unit

FIRST = state_counter.first_after(0)
GPU_CLASS = "CUSTOM_PCI_10DE_1430"
A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"


def stored(published: Unit, counter: StateCounter = FIRST) -> StoredUnit:
    """Return a unit of which nothing is allocated."""
    key = published.key
    traits = names.unit_traits(published)
    return stored_unit(str(key), key.host, traits, counter, Usage())


def fleet(*numbers: int) -> Fleet:
    """Return hosts a, b, … with so many free units each."""
    hosts = [
        Host(name, name, 0, name, 0, frozenset(), False)
        for name in "abcdef"[: len(numbers)]
    ]
    units = [
        stored(unit(bus, host=host.name))
        for host, number in zip(hosts, numbers, strict=True)
        for bus in range(1, number + 1)
    ]
    return Fleet(tuple(hosts), tuple(units))


def refusal(status: int, code: str, detail: str = "no") -> Reply:
    """Return an answer that refuses, as Placement words it."""
    return Reply(status, {"errors": [{"code": code, "detail": detail}]})
