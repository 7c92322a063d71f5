"""The families of the agent's metrics."""

from __future__ import annotations

import collections

from gpu_passthrough_plugin.agent.metrics import (
    FAMILIES,
    PassSnapshot,
    families,
)
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function_health import (
    AerCounters,
    FunctionHealth,
    Link,
    LinkMaximum,
)
from gpu_passthrough_plugin.model.metric import MetricKind
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.unit import State, suspect_reason
from tests.unit.agent.build import ADA, ONE, TWO, record

GPU = address.parse("06:00.0")
LOST = Unknown(Why.UNREADABLE, "it is suspended, and was not woken")
Values = dict[str, dict[tuple[str, ...], float]]


def values(snapshot: PassSnapshot) -> Values:
    by_name: Values = collections.defaultdict(dict)
    for family in families(snapshot):
        for labels, value in family.samples:
            assert len(labels) == len(family.label_names)
            assert labels not in by_name[family.sample_name]
            by_name[family.sample_name][labels] = value
    return by_name


def test_before_the_first_pass_there_is_little() -> None:
    assert {name for name, samples in values(PassSnapshot()).items()} == {
        "gpu_passthrough_passes_total"
    }
    assert [f.name for f in families(PassSnapshot())] == [
        f"gpu_passthrough_{name}" for name in FAMILIES
    ]


def test_units_by_state_with_those_that_none_is_in() -> None:
    suspect = suspect_reason(("0000:01:00.0 reported fatal errors: DLP 1",))
    kind = ONE.resource_class
    assert TWO.resource_class == kind
    snapshot = PassSnapshot(
        host="h",
        records=(
            record(ONE, State.ACTIVE, ADA),
            record(TWO, State.QUARANTINED, reason=suspect),
        ),
        malformed=1,
        completed_s=5.0,
    )
    found = values(snapshot)
    units = found["gpu_passthrough_units"]
    assert units["h", kind, "active"] == 1
    assert units["h", kind, "free"] == 0
    assert len(units) == len(State)
    assert found["gpu_passthrough_suspect_units"] == {("h", kind): 1}
    assert found["gpu_passthrough_malformed_units"] == {("h",): 1}
    # The consumer, and why, are in no label.
    assert ADA not in str(found) and "DLP" not in str(found)


def test_events_findings_and_passes() -> None:
    found = values(
        PassSnapshot(
            transitions={("free", "claimed"): 3},
            events={
                ("reset", "flr", "done"): 7,
                ("claim_conflict", "hook"): 2,
                ("reset", "a", "b", "c"): 1,
                ("another",): 9,
            },
            findings={("guest-gone", "done"): 1},
            stages_s={"observe": 0.5},
            passes={"completed": 4, "failed": 1},
            completed_s=1000.0,
            unreadable=frozenset({"libvirt"}),
        )
    )
    prefix = "gpu_passthrough_"
    assert found[f"{prefix}unit_transitions_total"] == {("free", "claimed"): 3}
    assert found[f"{prefix}resets_total"] == {("flr", "done"): 7}
    assert found[f"{prefix}claim_conflicts_total"] == {("hook",): 2}
    assert found[f"{prefix}findings"] == {("guest-gone", "done"): 1}
    assert found[f"{prefix}pass_stage_seconds"] == {("observe",): 0.5}
    assert found[f"{prefix}passes_total"] == {
        ("completed",): 4,
        ("failed",): 1,
    }
    assert found[f"{prefix}last_pass_timestamp_seconds"] == {(): 1000}
    assert found[f"{prefix}source_readable"] == {
        ("ledger",): 1,
        ("libvirt",): 0,
        ("kernel",): 1,
    }


def health(**more: object) -> FunctionHealth:
    known: dict[str, object] = {
        "link": Link(2.5, 8, 32.0, 16),
        "port": LinkMaximum(16.0, 8),
        "power_state": "D0",
        "runtime_status": "active",
        "is_dead": False,
        "correctable": AerCounters({"RxErr": 2, "BadTLP": 0}, 1),
        "nonfatal": None,
        "fatal": AerCounters({}, 0),
    }
    return FunctionHealth(**(known | more))  # type: ignore[arg-type]


def test_a_function_and_what_both_ends_support() -> None:
    found = values(PassSnapshot(healths={GPU: health()}))
    me, prefix = str(GPU), "gpu_passthrough_"
    speeds = f"{prefix}link_speed_gigatransfers_per_second"
    assert found[speeds] == {(me,): 2.5}
    most = f"{prefix}link_speed_max_gigatransfers_per_second"
    assert found[most] == {(me,): 16.0}
    assert found[f"{prefix}link_width_lanes"] == {(me,): 8}
    assert found[f"{prefix}link_width_max_lanes"] == {(me,): 8}
    assert found[f"{prefix}power_state"] == {(me, "D0"): 1}
    assert found[f"{prefix}runtime_status"] == {(me, "active"): 1}
    assert found[f"{prefix}aer_messages_total"] == {
        (me, "correctable"): 1,
        (me, "fatal"): 0,
    }
    assert found[f"{prefix}aer_errors_total"] == {
        (me, "correctable", "RxErr"): 2
    }


def test_what_is_not_known_is_no_sample() -> None:
    asleep = health(
        link=Link(LOST, LOST, LOST, LOST),
        port=None,
        power_state=LOST,
        runtime_status="suspended",
        correctable=LOST,
        fatal=None,
    )
    found = values(PassSnapshot(healths={GPU: asleep}))
    assert set(found) == {
        "gpu_passthrough_passes_total",
        "gpu_passthrough_runtime_status",
    }


def test_units_are_in_names() -> None:
    for name, (kind, text, labels) in FAMILIES.items():
        assert not name.endswith("_total"), name
        assert text.endswith("."), name
        assert len(labels) <= 3
        assert kind in MetricKind
