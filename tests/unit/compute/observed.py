"""Instances as ledger, journal and libvirt have them, in few words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gpu_passthrough_plugin.compute.instances import ObservedInstances
from gpu_passthrough_plugin.model.allocation import Allocation, MalformedUnit
from gpu_passthrough_plugin.model.guest import GuestState, LibvirtDomain
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord
from tests.unit.compute.build import unit

HOST = "node"
A = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
B = "5f0c2d3f-8d1f-4c8e-9a57-0d6b6e0f4a12"
C = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a13"
GPU = "0000:01:00.0"
SILENT = Unknown(Why.MISSING, "libvirt gave no answer within 5 s")


def allocation(
    uuid: str = A,
    *states: State,
    request: str = "gpu:1",
    host: str = HOST,
) -> Allocation:
    """Units 01:00, 02:00 and so on, one for each state."""
    made = []
    for number, state in enumerate(states or (State.ACTIVE,), 1):
        functions = (f"0000:{number:02x}:00.0*", f"0000:{number:02x}:00.1")
        base = unit(*functions)
        key = UnitKey(host, base.key.address)
        base = dataclasses.replace(base, key=key)
        made.append(UnitRecord(base, state, uuid, 1, False, ""))
    return Allocation(uuid, host, request, tuple(made))


def instance(
    uuid: str = A, name: str = "vm", phase: Phase = Phase.ACTIVE
) -> Instance:
    return Instance(uuid, name, "gpu:1", phase)


def domain(
    uuid: str = A,
    name: str = "vm",
    state: GuestState = GuestState.SHUT_OFF,
    **more: object,
) -> LibvirtDomain:
    """One that is defined and takes nothing, unless ``more`` differs."""
    made = LibvirtDomain(
        uuid=uuid,
        name=name,
        state=state,
        is_active=state in (GuestState.RUNNING, GuestState.PAUSED),
        is_persistent=True,
        has_saved_state=state is GuestState.SAVED,
        defined_functions=frozenset(),
    )
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def observed(
    allocations: Sequence[Allocation] = (),
    journal: Sequence[Instance] | Unknown = (),
    domains: Sequence[LibvirtDomain] | Unknown = (),
    malformed: Sequence[MalformedUnit] = (),
) -> ObservedInstances:
    return ObservedInstances(
        HOST,
        allocations,
        malformed,
        journal,
        domains,
        written_s={A: 1.5, B: 2.5},
        active_s={A: 3.5, C: 4.5},
    )
