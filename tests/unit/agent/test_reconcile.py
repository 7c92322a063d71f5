"""What the agent finds in an observation, and what it does about it."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.agent.observation import (
    GoneInstance,
    HostFault,
)
from gpu_passthrough_plugin.agent.reconcile import reconcile
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import (
    MalformedUnit,
    UnitListing,
)
from gpu_passthrough_plugin.model.function import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.instance import (
    Definition,
    Instance,
    Phase,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.unit import State, Unit
from tests.unit.agent.build import (
    ADA,
    BOB,
    ONE,
    TWO,
    found,
    guest,
    observation,
    only,
    record,
)
from tests.unit.allocation.build import GPU, NIC, unit


def test_a_host_in_step_has_no_finding() -> None:
    observed = observation(
        record(ONE, State.ACTIVE, ADA),
        record(TWO),
        instances=[Instance(ADA, phase=Phase.ACTIVE)],
        guests=(guest(ADA, ONE), guest(BOB)),
    )
    assert found(observed) == []


def test_a_guest_that_has_gone_is_released() -> None:
    observed = observation(
        record(ONE, State.ACTIVE, ADA),
        record(TWO),
        gone=(GoneInstance(ADA, "libvirt has no such guest"),),
    )
    finding = only(observed)
    assert (finding.case, finding.act) == (Case.GUEST_GONE, Act.RELEASE)
    assert finding.consumer == ADA
    assert finding.detail == "libvirt has no such guest"


@pytest.mark.parametrize("phase", [Phase.BOOTING, Phase.RELEASING])
def test_an_interrupted_command_is_recovered(phase: Phase) -> None:
    observed = observation(
        record(ONE, State.PREPARING, ADA),
        record(TWO),
        instances=[Instance(ADA, phase=phase)],
    )
    assert found(observed) == [(Case.INTERRUPTED, ADA, Act.RECOVER)]


def test_units_that_nobody_releases_are_recovered() -> None:
    observed = observation(record(ONE, State.RELEASING, ADA), record(TWO))
    assert found(observed) == [
        (Case.INTERRUPTED, "h/0000:01:00.0", Act.RECOVER)
    ]


def test_what_the_hook_noted_is_recovered() -> None:
    observed = observation(
        record(ONE, State.ACTIVE, ADA), record(TWO), ended=[ADA]
    )
    assert found(observed) == [(Case.GUEST_ENDED, ADA, Act.RECOVER)]


def test_a_ledger_that_is_older_than_the_journal() -> None:
    """Restored: what a guest had is offered, and was not reset."""
    rebinds = tuple(
        Rebind(f.address, Binding("nouveau", None), VFIO)
        for f in ONE.functions
    )
    instance = Instance(
        ADA, request="gpu:1", phase=Phase.ACTIVE, rebinds=rebinds
    )
    observed = observation(
        record(ONE),
        record(TWO),
        instances=[instance],
        gone=(GoneInstance(ADA, "libvirt has no such guest"),),
    )
    behind, gone = reconcile(observed)
    assert (behind.case, behind.act) == (Case.LEDGER_BEHIND, Act.RECORD)
    assert (behind.units, behind.request) == ((ONE.key,), "gpu:1")
    assert gone.act is Act.RELEASE
    taken = dataclasses.replace(
        observed,
        listing=UnitListing((record(ONE, State.ACTIVE, BOB), record(TWO))),
    )
    assert [f.case for f in reconcile(taken)] == [Case.GUEST_GONE]


def test_a_claim_without_a_guest_stays() -> None:
    observed = observation(record(ONE, State.CLAIMED, ADA), record(TWO))
    finding = only(observed)
    assert (finding.case, finding.act) == (Case.CLAIM_WITHOUT_GUEST, Act.NONE)
    assert not finding.waits_for_person
    held = dataclasses.replace(observed, guests=(guest(ADA),))
    assert found(held) == []


def test_a_defined_domain_that_is_shut_off_keeps_its_claim() -> None:
    attached = Instance(ADA, phase=Phase.ATTACHED)
    observed = observation(
        record(ONE, State.CLAIMED, ADA), record(TWO), instances=[attached]
    )
    assert found(observed) == []


def test_a_definition_whose_units_the_ledger_offers() -> None:
    functions = tuple(f.address for f in ONE.functions)
    attached = Instance(
        ADA,
        request="gpu:1",
        phase=Phase.ATTACHED,
        definition=Definition(functions),
    )
    finding = only(observation(record(ONE), record(TWO), instances=[attached]))
    assert (finding.case, finding.act) == (Case.LEDGER_BEHIND, Act.RECORD)
    assert (finding.consumer, finding.units) == (ADA, (ONE.key,))


@pytest.mark.parametrize("phase", [Phase.ATTACHING, Phase.DETACHING])
def test_an_attach_or_a_detach_that_was_interrupted(phase: Phase) -> None:
    observed = observation(
        record(ONE), record(TWO), instances=[Instance(ADA, phase=phase)]
    )
    assert found(observed) == [(Case.INTERRUPTED, ADA, Act.RECOVER)]


def test_nothing_is_published_of_a_host_that_cannot_be_read() -> None:
    observed = observation(record(ONE), units=Unknown(Why.UNREADABLE, "sysfs"))
    finding = only(observed)
    assert (finding.case, finding.act) == (Case.KERNEL, Act.NONE)


RENUMBERED = dataclasses.replace(ONE, iommu_group=71)
GROWN = dataclasses.replace(
    ONE, functions=(*ONE.functions, unit(1, GPU, NIC).functions[2])
)
CHANGED = dataclasses.replace(
    ONE,
    functions=(
        dataclasses.replace(ONE.functions[0], product_id=NIC),
        ONE.functions[1],
    ),
)


@pytest.mark.parametrize(
    ("stored", "shown", "datum"),
    [
        (None, ONE, "does not have it"),
        (ONE, None, "no longer shows it"),
        (ONE, RENUMBERED, "71"),
        (ONE, GROWN, "0000:01:01.0"),
        (ONE, CHANGED, "another device"),
    ],
)
def test_an_inventory_that_differs_is_published(
    stored: Unit | None, shown: Unit | None, datum: str
) -> None:
    observed = observation(
        *([record(stored)] if stored else []),
        record(TWO),
        units=(*([shown] if shown else []), TWO),
    )
    finding = only(observed)
    assert (finding.case, finding.act) == (Case.INVENTORY, Act.PUBLISH)
    assert finding.subject == "h/0000:01:00.0"
    assert datum in finding.detail


def test_a_held_unit_that_changed_is_marked_missing_once() -> None:
    held = record(ONE, State.ACTIVE, ADA)
    observed = observation(
        held, record(TWO), guests=(guest(ADA, ONE),), units=(GROWN, TWO)
    )
    finding = only(observed)
    assert (finding.case, finding.act) == (Case.UNIT_MISSING, Act.PUBLISH)
    told = dataclasses.replace(
        observed,
        listing=UnitListing(
            (dataclasses.replace(held, is_missing=True), record(TWO))
        ),
    )
    finding = only(told)
    assert (finding.case, finding.act) == (Case.UNIT_MISSING, Act.NONE)
    assert finding.waits_for_person


def test_a_unit_that_shares_a_function_with_a_held_one_waits() -> None:
    """The ledger takes it once the other is free."""
    other = dataclasses.replace(
        ONE, key=ONE.key._replace(address=Address(0, 1, 0, 1))
    )
    observed = observation(
        record(ONE, State.ACTIVE, ADA, is_missing=True),
        record(TWO),
        guests=(guest(ADA, ONE),),
        units=(other, TWO),
    )
    assert Act.PUBLISH not in {f.act for f in reconcile(observed)}


def test_a_quarantined_unit_waits_for_a_person() -> None:
    observed = observation(
        record(ONE, State.QUARANTINED, reason="loud fan"), record(TWO)
    )
    finding = only(observed)
    assert finding.case is Case.QUARANTINED
    assert finding.detail == "loud fan"
    assert finding.waits_for_person


@pytest.mark.parametrize(
    ("consumer", "act"), [(None, Act.PUBLISH), (ADA, Act.NONE)]
)
def test_a_malformed_record(consumer: str | None, act: Act) -> None:
    malformed = MalformedUnit("h", "12", "zz", "address 'zz'", consumer)
    observed = observation(record(ONE), record(TWO), malformed=(malformed,))
    finding = only(observed)
    assert (finding.case, finding.act) == (Case.MALFORMED, act)


def test_what_else_is_wrong_with_the_host_is_told() -> None:
    observed = dataclasses.replace(
        observation(record(ONE), record(TWO)),
        faults=(HostFault("the hook is gone", "install it"),),
    )
    finding = only(observed)
    assert (finding.case, finding.subject) == (Case.HOST, "h")
    assert (finding.detail, finding.remedy) == (
        "the hook is gone",
        "install it",
    )
