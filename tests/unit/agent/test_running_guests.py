"""What the agent finds of guests that run."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.agent.observation import (
    RunningGuest,
)
from gpu_passthrough_plugin.agent.reconcile import reconcile
from gpu_passthrough_plugin.formats.host_devices import (
    HostFunction,
    HostFunctions,
)
from gpu_passthrough_plugin.model.function import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import (
    Instance,
    Phase,
)
from gpu_passthrough_plugin.model.unit import State
from tests.unit.agent.build import (
    ADA,
    BOB,
    ONE,
    SILENT,
    TWO,
    found,
    guest,
    observation,
    only,
    record,
)
from tests.unit.allocation.build import GPU, NIC, unit


def test_a_running_guest_whose_unit_is_offered_is_recorded_first() -> None:
    observed = observation(
        record(ONE),
        record(TWO, State.RELEASING, BOB),
        guests=(guest(ADA, ONE),),
        units=(ONE,),
    )
    first, *_, last = reconcile(observed)
    assert (first.case, first.act) == (Case.GUEST_NOT_RECORDED, Act.RECORD)
    assert (first.units, first.consumer) == ((ONE.key,), ADA)
    assert first.request == HOOK_REQUEST
    assert last.act is Act.PUBLISH


def test_a_guest_of_the_journal_is_recorded_with_its_request() -> None:
    instance = Instance(ADA, request="gpu:1", phase=Phase.ACTIVE)
    observed = observation(
        record(ONE),
        record(TWO),
        instances=[instance],
        guests=(guest(ADA, ONE),),
    )
    assert only(observed).request == "gpu:1"


@pytest.mark.parametrize(
    ("state", "consumer"), [(State.QUARANTINED, None), (State.ACTIVE, BOB)]
)
def test_a_guest_with_a_unit_that_is_not_its_own(
    state: State, consumer: str | None
) -> None:
    observed = observation(
        record(ONE, state, consumer, reason="loud fan"),
        record(TWO),
        guests=(guest(ADA, ONE),),
    )
    finding = reconcile(observed)[0]
    assert (finding.case, finding.act) == (Case.GUEST_CONFLICT, Act.NONE)
    assert finding.waits_for_person
    assert ADA in finding.detail


def test_a_guest_with_a_part_of_a_group() -> None:
    two_cards = unit(1, GPU, NIC)
    first, *rest = two_cards.functions
    part = HostFunctions((HostFunction(first.address, True),), ())
    observed = observation(
        record(two_cards, State.ACTIVE, ADA),
        record(TWO),
        guests=(RunningGuest(ADA, "ada", part),),
        units=(two_cards, TWO),
    )
    finding = only(observed)
    assert finding.case is Case.PARTIAL_GROUP
    assert str(rest[1].address) in finding.detail


def test_companions_may_stay_reserved() -> None:
    observed = observation(
        record(ONE, State.ACTIVE, ADA),
        record(TWO),
        guests=(guest(ADA, ONE, primaries_only=True),),
    )
    assert found(observed) == []


def test_a_guest_that_cannot_be_read_waits_for_a_person() -> None:
    observed = observation(
        record(ONE), record(TWO), guests=(RunningGuest(ADA, "ada", None),)
    )
    finding = only(observed)
    assert finding.case is Case.GUEST_UNREADABLE
    assert finding.waits_for_person


def test_nothing_is_concluded_from_a_silent_libvirt() -> None:
    observed = observation(
        record(ONE, State.ACTIVE, ADA),
        record(TWO, State.CLAIMED, BOB),
        guests=SILENT,
    )
    finding = only(observed)
    assert (finding.case, finding.act) == (Case.LIBVIRT, Act.NONE)
    assert "no answer within 5 s" in finding.detail


def test_a_unit_that_somebody_unplugged_waits_for_a_person() -> None:
    """As by 'virsh detach-device'; what the hook claimed no journal has."""
    both = (record(ONE, State.ACTIVE, ADA), record(TWO, State.ACTIVE, ADA))
    observed = observation(*both, guests=(guest(ADA, ONE),))
    finding = only(observed)
    assert (finding.case, finding.act) == (Case.UNIT_UNUSED, Act.NONE)
    assert finding.subject == str(TWO.key)
    assert finding.waits_for_person
    own = Instance(
        ADA,
        phase=Phase.ACTIVE,
        rebinds=tuple(
            Rebind(f.address, Binding(None, None), VFIO)
            for f in (*ONE.functions, *TWO.functions)
        ),
    )
    observed = observation(*both, guests=(guest(ADA, ONE),), instances=[own])
    assert only(observed) == finding


def test_a_unit_of_an_outdated_ledger_is_quarantined_first() -> None:
    """The guest's own unit can be recorded for it after that."""
    own = Instance(
        ADA,
        phase=Phase.ACTIVE,
        request="gpu:1",
        rebinds=tuple(
            Rebind(f.address, Binding(None, None), VFIO) for f in ONE.functions
        ),
    )
    observed = observation(
        record(ONE),
        record(TWO, State.ACTIVE, ADA),
        guests=(guest(ADA, ONE),),
        instances=[own],
    )
    assert found(observed) == [
        (Case.UNIT_UNUSED, ADA, Act.QUARANTINE),
        (Case.GUEST_NOT_RECORDED, ADA, Act.RECORD),
    ]
    unreadable = RunningGuest(
        ADA, "ada", HostFunctions((), ("a device that cannot be identified",))
    )
    observed = dataclasses.replace(observed, guests=(unreadable,))
    assert Act.QUARANTINE not in {act for _, _, act in found(observed)}


def test_a_missing_unit_is_not_an_unplugged_one() -> None:
    observed = observation(
        record(ONE, State.ACTIVE, ADA, is_missing=True),
        record(TWO),
        guests=(guest(ADA),),
        units=(TWO,),
    )
    assert only(observed).case is Case.UNIT_MISSING
