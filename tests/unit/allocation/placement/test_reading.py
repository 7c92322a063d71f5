"""Hosts and units in what Placement answers."""

from __future__ import annotations

import dataclasses
from typing import Any

from gpu_passthrough_plugin.allocation.placement import (
    names,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.names import STATE_COUNTER
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Step,
    Usage,
)
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.unit import State
from tests.unit.allocation.build import unit
from tests.unit.allocation.placement.build import FIRST, GPU_CLASS, fleet


def resources(**used: int) -> dict[str, dict[str, int]]:
    return {name: {"used": number} for name, number in used.items()}


def test_a_reserved_unit_is_free_and_not_offered() -> None:
    free = fleet(2)
    first, second = free.units
    reserved = dataclasses.replace(
        first, usage=Usage(first.counter.reservation, 1)
    )
    read = dataclasses.replace(free, units=(reserved, second))
    assert [u.is_offered for u in read.units] == [False, True]
    assert [u.record.is_claimable for u in read.units] == [True, True]
    assert read.without_reservations() == free


def test_units_that_several_consumers_allocated() -> None:
    of_unit: dict[str, dict[str, Any]] = {
        "free": resources(**{STATE_COUNTER: 0, GPU_CLASS: 0}),
        "held": resources(**{STATE_COUNTER: 3, GPU_CLASS: 1}),
        "both": resources(**{STATE_COUNTER: 4, GPU_CLASS: 2}),
        "host": resources(VCPU=8),
    }
    summaries = {uuid: {"resources": r} for uuid, r in of_unit.items()}
    assert reading.shared_units({"provider_summaries": summaries}) == ["both"]


def answers(
    host_traits: frozenset[str], root_traits: frozenset[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Placement's answers: a held unit, and one that is being added."""

    def summary(
        traits: frozenset[str], **inventories: tuple[int, int]
    ) -> dict[str, Any]:
        return {
            "root_provider_uuid": "root",
            "traits": sorted(traits),
            "resources": {
                name: {"capacity": capacity, "used": used}
                for name, (capacity, used) in inventories.items()
            },
        }

    held = {STATE_COUNTER: (FIRST.total, FIRST.hold), GPU_CLASS: (1, 1)}
    listed = {"name": "h_gpu-passthrough", "uuid": "host", "generation": 4}
    unlisted = {"name": "g_gpu-passthrough", "uuid": "g", "generation": 1}
    return {"resource_providers": [listed, unlisted]}, {
        "provider_summaries": {
            "root": summary(root_traits, VCPU=(8, 0)),
            "host": summary(host_traits, **{names.HOST_CLASS: (3, 0)}),
            "unit": summary(names.unit_traits(unit(1)), **held),
            "being added": summary(names.unit_traits(unit(2))),
            "not a unit": summary(
                frozenset(), **{STATE_COUNTER: (FIRST.total, 0)}
            ),
        }
    }


def test_a_fleet_in_the_answers() -> None:
    traits = names.text_traits(names.AGGREGATE, ["rack"]) | names.text_traits(
        names.MACHINE, ["m"]
    )
    read = reading.fleet_in(*answers(traits, frozenset()), {})
    (host,) = read.hosts
    assert (host.provider, host.provider_generation) == ("host", 4)
    assert (host.root, host.machine) == ("root", "m")
    assert host.record == HostRecord("h", 2, False, "", frozenset({"rack"}))
    (stored,) = read.units
    assert (stored.uuid, stored.counter) == ("unit", FIRST)
    assert stored.usage == Usage(FIRST.hold, 1)
    assert (stored.record.unit, stored.record.state) == (
        unit(1),
        State.CLAIMED,
    )


def test_a_usage_that_was_read_replaces_the_sums() -> None:
    usages = {"unit": state_counter.usage_of([FIRST.hold, FIRST.reservation])}
    read = reading.fleet_in(*answers(frozenset(), frozenset()), usages)
    assert read.units[0].usage == usages["unit"]


def test_cordoned_hosts() -> None:
    by_nova = frozenset({names.NOVA_DISABLED_TRAIT})
    cordoned = names.text_traits(names.CORDON_REASON, ["fan"]) | {
        names.CORDONED_TRAIT
    }
    for host_traits, root_traits, reason in (
        (cordoned, frozenset[str](), "fan"),
        (cordoned, by_nova, "fan"),
        (frozenset[str](), by_nova, "compute service"),
    ):
        read = reading.fleet_in(*answers(host_traits, root_traits), {})
        record = read.hosts[0].record
        assert record.is_cordoned
        assert reason in record.reason


def test_the_reason_counts_only_while_a_unit_is_quarantined() -> None:
    traits = names.unit_traits(unit(1), "reads ff")
    for step, reason in ((Step.QUARANTINED, "reads ff"), (Step.OPEN, "")):
        counter = StateCounter(3, step, False)
        stored = reading.stored_unit("u", "h", traits, counter, Usage())
        assert stored is not None
        assert stored.record.reason == reason
