"""Observations of a host with two units, and what is found in them."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin.agent.finding import Act, Case, Finding
from gpu_passthrough_plugin.agent.observation import (
    GoneInstance,
    Observation,
    RunningGuest,
)
from gpu_passthrough_plugin.agent.reconcile import reconcile
from gpu_passthrough_plugin.formats.host_devices import (
    HostFunction,
    HostFunctions,
)
from gpu_passthrough_plugin.model.allocation import (
    MalformedUnit,
    UnitListing,
)
from gpu_passthrough_plugin.model.instance import (
    Instance,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord
from tests.unit.allocation.build import unit

ADA = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
BOB = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"
ONE, TWO = unit(1), unit(2)
SILENT = Unknown(Why.UNREADABLE, "no answer within 5 s")


def record(
    of: Unit,
    state: State = State.FREE,
    consumer: str | None = None,
    *,
    is_missing: bool = False,
    reason: str = "",
) -> UnitRecord:
    return UnitRecord(of, state, consumer, 3, is_missing, reason)


def guest(
    uuid: str, *units: Unit, primaries_only: bool = False
) -> RunningGuest:
    functions = tuple(
        HostFunction(function.address, True)
        for taken in units
        for function in taken.functions
        if function.is_primary or not primaries_only
    )
    return RunningGuest(
        uuid, f"guest-{uuid[:4]}", HostFunctions(functions, ())
    )


def observation(
    *records: UnitRecord,
    instances: Iterable[Instance] = (),
    ended: Iterable[str] = (),
    guests: tuple[RunningGuest, ...] | Unknown = (),
    gone: tuple[GoneInstance, ...] = (),
    units: tuple[Unit, ...] | Unknown = (ONE, TWO),
    malformed: tuple[MalformedUnit, ...] = (),
) -> Observation:
    return Observation(
        "h",
        UnitListing(records, malformed),
        tuple(instances),
        frozenset(ended),
        guests,
        gone,
        units,
    )


def found(observed: Observation) -> list[tuple[Case, str, Act]]:
    return [(f.case, f.subject, f.act) for f in reconcile(observed)]


def only(observed: Observation) -> Finding:
    (finding,) = reconcile(observed)
    return finding
