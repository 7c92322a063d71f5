"""Which instances there are, by ledger, journal and libvirt."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.compute.instances import (
    ObservedInstances,
    instance_records,
)
from gpu_passthrough_plugin.model.allocation import MalformedUnit
from gpu_passthrough_plugin.model.guest import GuestState
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.reading import MISSING
from gpu_passthrough_plugin.model.unit import State
from tests.unit.compute.observed import (
    HOST,
    SILENT,
    A,
    B,
    C,
    allocation,
    domain,
    instance,
    observed,
)

CLAIMED, ACTIVE = State.CLAIMED, State.ACTIVE
RUNNING, GONE = GuestState.RUNNING, GuestState.GONE
UNKNOWN, NOT_STARTED = GuestState.UNKNOWN, GuestState.NOT_STARTED
BOOTING = Instance(A, phase=Phase.BOOTING, was_started=False)


@pytest.mark.parametrize(
    ("seen", "guest"),
    [
        (observed([allocation()], [], [domain(state=RUNNING)]), RUNNING),
        (observed([allocation()], [], [domain()]), GuestState.SHUT_OFF),
        (observed([allocation()], [], [domain(B)]), GONE),
        (observed([allocation()], [], SILENT), UNKNOWN),
        (observed([allocation()], MISSING, []), UNKNOWN),
        (observed([allocation()], MISSING, [domain()]), GuestState.SHUT_OFF),
        (observed([allocation(A, CLAIMED)]), NOT_STARTED),
        (observed([allocation(A, CLAIMED, ACTIVE)]), GONE),
        (observed([allocation(A, CLAIMED)], [instance()]), GONE),
        (observed([allocation(A, State.PREPARING)], [BOOTING]), NOT_STARTED),
        (observed([], [instance()]), GONE),
        (
            observed([allocation(host="far")], [], [domain(state=RUNNING)]),
            UNKNOWN,
        ),
    ],
)
def test_the_state_of_a_guest(
    seen: ObservedInstances, guest: GuestState
) -> None:
    (record,) = instance_records(seen)
    assert (record.uuid, record.guest) == (A, guest)


def test_names_and_order() -> None:
    records = instance_records(
        observed(
            [allocation(B), allocation(C, host="far"), allocation(A)],
            [instance(A, "in the journal")],
            [domain(B, "by libvirt"), domain(C, "another host's guest")],
        )
    )
    assert [(r.host, r.name, r.uuid) for r in records] == [
        ("far", "", C),
        (HOST, "by libvirt", B),
        (HOST, "in the journal", A),
    ]
    # By its event, by nothing, by the journal.
    assert [r.since_s for r in records] == [4.5, None, 1.5]


def test_a_domain_that_was_renamed_has_its_new_name() -> None:
    (record,) = instance_records(
        observed([allocation()], [instance(A, "old")], [domain(A, "new")])
    )
    assert record.name == "new"


def test_who_claimed() -> None:
    hook = allocation(A, request=HOOK_REQUEST)
    for seen, who in (
        (observed([hook]), "hook"),
        (observed([allocation()]), "command"),
        (observed([], [instance()]), "command"),
        (observed([allocation(request="")]), ""),
    ):
        (record,) = instance_records(seen)
        assert record.claimed_by == who


def test_since_when_is_left_out_in_the_middle_of_an_act() -> None:
    preparing = allocation(A, State.PREPARING)
    (record,) = instance_records(observed([preparing], [BOOTING]))
    assert record.since_s is None


def test_a_quarantined_unit_is_no_instance() -> None:
    kept = instance(phase=Phase.QUARANTINED)
    assert instance_records(observed([], [kept])) == ()
    assert observed([], [kept]).instance(A) is None


def test_malformed_units_belong_to_their_consumer() -> None:
    free = MalformedUnit(HOST, "1", "zz", "address 'zz' is not valid")
    taken = MalformedUnit(HOST, "2", "yy", "no address", consumer=A)
    alone = MalformedUnit(HOST, "3", "xx", "no address", consumer=B)
    first, second = instance_records(
        observed([allocation()], malformed=[free, taken, alone])
    )
    assert (first.uuid, first.malformed) == (A, (taken,))
    assert (second.uuid, second.allocation) == (B, None)
    assert (second.states, second.guest) == ((), GONE)
