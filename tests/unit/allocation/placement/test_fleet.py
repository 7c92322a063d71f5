"""Hosts and units in what Placement answers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from gpu_passthrough_plugin.allocation.placement import (
    names,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.fleet import (
    Fleet,
    MalformedProvider,
    fleet_in,
    shared_units,
    stored_unit,
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
    return {
        name: {"capacity": 9, "used": number} for name, number in used.items()
    }


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
    summaries: dict[str, Any] = {
        uuid: {"resources": r, "traits": [], "root_provider_uuid": "root"}
        for uuid, r in of_unit.items()
    }
    summaries["odd"] = {"resources": {STATE_COUNTER: None}}
    assert shared_units({"provider_summaries": summaries}) == ["both"]


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
    listed = {
        "name": "h_gpu-passthrough",
        "uuid": "host",
        "generation": 4,
        "root_provider_uuid": "root",
    }
    unlisted = listed | {"name": "g_gpu-passthrough", "uuid": "g"}
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
    read = fleet_in(*answers(traits, frozenset()), {})
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


def malformed(
    change: Callable[[dict[str, Any], dict[str, Any]], object],
) -> Fleet:
    """Return the fleet of answers of which something was changed."""
    providers, candidates = answers(frozenset(), frozenset())
    change(providers, candidates["provider_summaries"])
    return fleet_in(providers, candidates, {})


def test_a_malformed_host_takes_no_units_of_another() -> None:
    """Any client of Placement can make a provider below another host's."""

    def add(providers: dict[str, Any], summaries: dict[str, Any]) -> None:
        listed = providers["resource_providers"]
        listed.append(listed[0] | {"name": "junk", "uuid": "junk"})
        summaries["junk"] = summaries["host"]

    read = malformed(add)
    assert [u.record.unit for u in read.units] == [unit(1)]


def test_a_malformed_unit_is_a_matter_of_its_own() -> None:
    trait = f"{names.TRAIT_PREFIX}F_X"
    read = malformed(lambda _, units: units["unit"]["traits"].append(trait))
    assert read.units == ()
    assert [h.problem for h in read.hosts] == [""]
    assert (
        MalformedProvider(
            "unit", "h", f"trait {trait} is malformed", 1, FIRST.count
        )
        in read.malformed
    )


def test_malformed_traits_counters_and_summaries() -> None:
    group = f"{names.TRAIT_PREFIX}GROUP_7"

    def spoil(what: str, _: object, units: dict[str, Any]) -> None:
        unit = units["unit"]
        counter = unit["resources"][STATE_COUNTER]
        match what:
            case "total of 15":
                counter["capacity"] = 15
            case "'x'":
                counter["used"] = "x"
            case "contradict":
                unit["traits"].append(group)
            case "traits None":
                unit["traits"] = None
            case "primary":
                unit["traits"] = []

    for problem in (
        "total of 15",
        "'x'",
        "contradict",
        "traits None",
        "primary",
    ):
        read = malformed(functools.partial(spoil, problem))
        assert read.units == ()
        problems = [m.problem for m in read.malformed if m.uuid == "unit"]
        assert len(problems) == 1, problem
        assert problem in problems[0]


def test_two_providers_of_one_unit() -> None:
    read = malformed(lambda _, units: units.update(again=units["unit"]))
    assert [u.uuid for u in read.units] == ["unit"]
    assert "as provider unit does" in str(
        [m.problem for m in read.malformed if m.uuid == "again"]
    )


def test_a_malformed_host() -> None:
    why = f"{names.TRAIT_PREFIX}WHY_0_0_A1"
    for change, name, problem in (
        (lambda p, u: u["host"]["traits"].append(why), "h", "is malformed"),
        (lambda p, u: p["resource_providers"][0].update(name="x"), "x", "end"),
        (
            lambda p, u: p["resource_providers"][0].update(generation="4"),
            "h",
            "generation",
        ),
        (lambda p, u: p["resource_providers"].append(None), "None", "object"),
    ):
        read = malformed(change)
        problems = {h.name: h.record for h in read.hosts if h.problem}
        record = problems[name]
        assert record.is_malformed
        assert record.is_cordoned
        assert problem in record.reason
        assert name not in {
            h.name for h in read.without_malformed_hosts().hosts if h.problem
        }


def test_a_usage_that_was_read_replaces_the_sums() -> None:
    usages = {"unit": state_counter.usage_of([FIRST.hold, FIRST.reservation])}
    read = fleet_in(*answers(frozenset(), frozenset()), usages)
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
        read = fleet_in(*answers(host_traits, root_traits), {})
        record = read.hosts[0].record
        assert record.is_cordoned
        assert reason in record.reason


def test_the_reason_counts_only_while_a_unit_is_quarantined() -> None:
    traits = names.unit_traits(unit(1), "reads ff")
    for step, reason in ((Step.QUARANTINED, "reads ff"), (Step.OPEN, "")):
        counter = StateCounter(3, step, False)
        stored = stored_unit("u", "h", traits, counter, Usage())
        assert stored.record.reason == reason
