"""The families of the agent's metrics, of what a pass left: pure.

No label has a text that a guest, or who starts one, can choose.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function_health import (
    AerCounters,
    FunctionHealth,
)
from gpu_passthrough_plugin.model.metric import (
    CountedEvent,
    EventCounts,
    MetricFamily,
    MetricKind,
    MetricSample,
)
from gpu_passthrough_plugin.model.unit import State, UnitRecord

_PREFIX = "gpu_passthrough_"
_GAUGE, _COUNTER = MetricKind.GAUGE, MetricKind.COUNTER
# By name without the prefix: kind, documentation, names of labels.
FAMILIES: Mapping[str, tuple[MetricKind, str, tuple[str, ...]]] = {
    "units": (
        _GAUGE,
        "Units of this host in the ledger.",
        ("host", "resource_class", "state"),
    ),
    "suspect_units": (
        _GAUGE,
        "Quarantined units that are clean, and may be about to fail.",
        ("host", "resource_class"),
    ),
    "malformed_units": (
        _GAUGE,
        "Units whose records in the ledger cannot be read.",
        ("host",),
    ),
    "unit_transitions": (
        _COUNTER,
        "Changes of units' states in the ledger since the agent started.",
        ("from", "to"),
    ),
    "resets": (
        _COUNTER,
        "Resets of functions and buses on this host.",
        ("method", "outcome"),
    ),
    "claim_conflicts": (
        _COUNTER,
        "Claims on this host that others were faster than.",
        ("by",),
    ),
    "findings": (
        _GAUGE,
        "Findings of the last pass that was completed.",
        ("case", "result"),
    ),
    "pass_stage_seconds": (
        _GAUGE,
        "How long each stage of the last completed pass took.",
        ("stage",),
    ),
    "passes": (_COUNTER, "Passes since the agent started.", ("outcome",)),
    "last_pass_timestamp_seconds": (
        _GAUGE,
        "When the last pass was completed, in seconds since 1970.",
        (),
    ),
    "source_readable": (
        _GAUGE,
        "Whether the last pass could read a source (1) or not (0).",
        ("source",),
    ),
    "link_speed_gigatransfers_per_second": (
        _GAUGE,
        "Speed of the link of a function on a VFIO driver; lower while idle.",
        ("address",),
    ),
    "link_speed_max_gigatransfers_per_second": (
        _GAUGE,
        "Speed that both ends of the link support.",
        ("address",),
    ),
    "link_width_lanes": (
        _GAUGE,
        "Lanes of the link of a function on a VFIO driver.",
        ("address",),
    ),
    "link_width_max_lanes": (
        _GAUGE,
        "Lanes that both ends of the link support.",
        ("address",),
    ),
    "power_state": (
        _GAUGE,
        "Power state of a function on a VFIO driver: 1 for the present one.",
        ("address", "state"),
    ),
    "runtime_status": (
        _GAUGE,
        "Runtime power management of a function: 1 for the present status.",
        ("address", "status"),
    ),
    "aer_messages": (
        _COUNTER,
        "PCI Express error messages of a function since the host booted.",
        ("address", "severity"),
    ),
    "aer_errors": (
        _COUNTER,
        "PCI Express errors of a function by kind; without kinds at 0.",
        ("address", "severity", "kind"),
    ),
}
SOURCES = ("ledger", "libvirt", "kernel")


@dataclasses.dataclass(frozen=True, slots=True)
class PassSnapshot:
    """What the passes up to now left; one value, replaced as a whole.

    :param records: of this host's units.
    :param transitions: how often units went from a state to another.
    :param events: what was counted on this host.
    :param findings: of the last completed pass, by case and result.
    :param stages_s: how long each stage of it took.
    :param passes: by their outcome.
    :param completed_s: when it was completed; None before the first one.
    :param unreadable: which of ``SOURCES`` the last pass could not read.
    :param healths: of the functions that a VFIO driver has.
    """

    host: str = ""
    records: tuple[UnitRecord, ...] = ()
    malformed: int = 0
    transitions: Mapping[tuple[str, str], int] = dataclasses.field(
        default_factory=dict
    )
    events: EventCounts = dataclasses.field(default_factory=dict)
    findings: Mapping[tuple[str, str], int] = dataclasses.field(
        default_factory=dict
    )
    stages_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    passes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    completed_s: float | None = None
    unreadable: frozenset[str] = frozenset()
    healths: Mapping[Address, FunctionHealth] = dataclasses.field(
        default_factory=dict
    )


def families(snapshot: PassSnapshot) -> tuple[MetricFamily, ...]:
    """Return every family, in the order of ``FAMILIES``."""
    samples: dict[str, list[MetricSample]] = {name: [] for name in FAMILIES}
    for name, sample in _samples(snapshot):
        samples[name].append(sample)
    return tuple(
        MetricFamily(
            f"{_PREFIX}{name}", kind, text, labels, tuple(samples[name])
        )
        for name, (kind, text, labels) in FAMILIES.items()
    )


Named = tuple[str, MetricSample]


def _samples(snapshot: PassSnapshot) -> Iterator[Named]:
    yield from _of_units(snapshot)
    yield from _of_events(snapshot)
    yield from _of_passes(snapshot)
    for address, health in sorted(snapshot.healths.items()):
        yield from _of_function(str(address), health)


def _named(name: str, value: float, *labels: str) -> Named:
    return name, MetricSample(labels, float(value))


def _of_units(snapshot: PassSnapshot) -> Iterator[Named]:
    """Yield units by state: each state of a class that there is, also at 0.

    So that none free is a value, and not a gap.
    """
    if snapshot.completed_s is None:
        return
    host = snapshot.host
    states = collections.Counter(
        (record.unit.resource_class, record.state)
        for record in snapshot.records
    )
    suspects = collections.Counter(
        record.unit.resource_class
        for record in snapshot.records
        if record.is_suspect
    )
    for kind in sorted({kind for kind, _ in states}):
        for state in State:
            yield _named("units", states[kind, state], host, kind, state)
        yield _named("suspect_units", suspects[kind], host, kind)
    yield _named("malformed_units", snapshot.malformed, host)


def _of_events(snapshot: PassSnapshot) -> Iterator[Named]:
    for (before, after), count in sorted(snapshot.transitions.items()):
        yield _named("unit_transitions", count, before, after)
    for (event, *details), count in sorted(snapshot.events.items()):
        if event == CountedEvent.RESET and len(details) == 2:
            yield _named("resets", count, *details)
        elif event == CountedEvent.CLAIM_CONFLICT and len(details) == 1:
            yield _named("claim_conflicts", count, *details)


def _of_passes(snapshot: PassSnapshot) -> Iterator[Named]:
    for (case, result), count in sorted(snapshot.findings.items()):
        yield _named("findings", count, case, result)
    for stage, seconds in snapshot.stages_s.items():
        yield _named("pass_stage_seconds", seconds, stage)
    for outcome in ("completed", "failed"):
        yield _named("passes", snapshot.passes.get(outcome, 0), outcome)
    if snapshot.completed_s is not None:
        yield _named("last_pass_timestamp_seconds", snapshot.completed_s)
    if snapshot.passes:
        for source in SOURCES:
            is_readable = source not in snapshot.unreadable
            yield _named("source_readable", is_readable, source)


def _of_function(address: str, health: FunctionHealth) -> Iterator[Named]:
    """Yield what is known of a function: what is not has no sample."""
    link = health.reachable
    values = {
        "link_speed_gigatransfers_per_second": link.speed_gts,
        "link_speed_max_gigatransfers_per_second": link.max_speed_gts,
        "link_width_lanes": link.width,
        "link_width_max_lanes": link.max_width,
    }
    for name, value in values.items():
        if isinstance(value, (int, float)):
            yield _named(name, value, address)
    if isinstance(health.power_state, str):
        yield _named("power_state", 1, address, health.power_state)
    if isinstance(health.runtime_status, str):
        yield _named("runtime_status", 1, address, health.runtime_status)
    for severity in ("correctable", "nonfatal", "fatal"):
        counters = getattr(health, severity)
        if not isinstance(counters, AerCounters):
            continue
        yield _named("aer_messages", counters.total, address, severity)
        for kind, count in counters.by_kind.items():
            if count:
                yield _named("aer_errors", count, address, severity, kind)
