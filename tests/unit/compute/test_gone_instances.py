"""Which instances are gone, and why others are kept."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from gpu_passthrough_plugin.compute.gone_instances import decide
from gpu_passthrough_plugin.compute.instances import ObservedInstances
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.allocation import MalformedUnit
from gpu_passthrough_plugin.model.guest import NOT_READ, GuestState
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import Definition, Phase
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.unit import State, Unit, UnitKey
from tests.golden import assert_golden, sections
from tests.unit.compute.observed import (
    GPU,
    HOST,
    SILENT,
    A,
    B,
    allocation,
    domain,
    instance,
    observed,
)

OWN = frozenset({address.parse(GPU)})
OTHERS = frozenset({address.parse("0000:77:00.0")})
HOOK = allocation(request=HOOK_REQUEST)
CLAIMED = allocation(A, State.CLAIMED)
ATTACHED = dataclasses.replace(
    instance(phase=Phase.ATTACHED), definition=Definition(tuple(OWN))
)
UNREAD = Unknown(Why.UNREADABLE, "cannot read the journal")


def idle(_unit: Unit) -> str:
    return ""


def busy(unit: Unit) -> str:
    return f"the group of {unit.key.address} is held"


GONE = {
    "transient": observed([allocation()], [instance()], []),
    "transient, by the hook": observed([HOOK], [], []),
    "not in the journal": observed([allocation()], [], [domain(B)]),
    "defined without functions": observed(
        [allocation()], [instance()], [domain()]
    ),
    "defined with other functions": observed(
        [allocation()], [instance()], [domain(defined_functions=OTHERS)]
    ),
    "defined with them, by the hook": observed(
        [HOOK], [], [domain(defined_functions=OWN)]
    ),
    "partly claimed": observed(
        [allocation(A, State.ACTIVE, State.CLAIMED)], [], []
    ),
    "attached, and not defined any more": observed([CLAIMED], [ATTACHED], []),
    "attached, and defined without functions": observed(
        [CLAIMED], [ATTACHED], [domain()]
    ),
    "attached, and its run has ended": observed(
        [allocation()], [ATTACHED], [domain(defined_functions=OWN)]
    ),
}
KEPT = {
    "running": observed(
        [allocation()], [instance()], [domain(state=GuestState.RUNNING)]
    ),
    "paused": observed([HOOK], [], [domain(state=GuestState.PAUSED)]),
    "crashed, and kept by libvirt": observed(
        [HOOK], [], [domain(state=GuestState.CRASHED, is_active=True)]
    ),
    "saved": observed([HOOK], [], [domain(state=GuestState.SAVED)]),
    "defined with them": observed(
        [allocation()], [instance()], [domain(defined_functions=OWN)]
    ),
    "definition not read": observed(
        [allocation()], [instance()], [domain(defined_functions=NOT_READ)]
    ),
    "libvirt is silent": observed([allocation()], [instance()], SILENT),
    "journal unread": observed([allocation()], UNREAD, []),
    "only claimed": observed([allocation(A, State.CLAIMED)], [], []),
    "booting": observed(
        [allocation(A, State.PREPARING)],
        [instance(phase=Phase.BOOTING)],
        [],
    ),
    "being released": observed([allocation(A, State.RELEASING)], [], []),
    "release was interrupted": observed(
        [], [instance(phase=Phase.RELEASING)], []
    ),
    "missing in the ledger": observed([], [instance()], []),
    "attached": observed(
        [CLAIMED], [ATTACHED], [domain(defined_functions=OWN)]
    ),
    "attached, by the hook": observed(
        [allocation(A, State.CLAIMED, request=HOOK_REQUEST)],
        [ATTACHED],
        [domain(defined_functions=OWN)],
    ),
    "attached, and missing in the ledger": observed(
        [], [ATTACHED], [domain(defined_functions=OWN)]
    ),
    "attached, and running": observed(
        [allocation()],
        [ATTACHED],
        [domain(state=GuestState.RUNNING, defined_functions=OWN)],
    ),
    "being attached": observed(
        [CLAIMED], [instance(phase=Phase.ATTACHING)], []
    ),
    "malformed": observed(
        [allocation()],
        malformed=[MalformedUnit(HOST, "7", "zz", "bad", consumer=A)],
    ),
}


@pytest.mark.parametrize("case", GONE)
def test_gone(case: str) -> None:
    gone, kept = decide(GONE[case], idle)
    assert [judged.record.uuid for judged in gone] == [A]
    assert kept == ()


@pytest.mark.parametrize("case", [*KEPT])
def test_kept(case: str) -> None:
    gone, kept = decide(KEPT[case], idle)
    assert gone == ()
    assert [judged.record.uuid for judged in kept] == [A]


@pytest.mark.parametrize("case", GONE)
def test_what_is_in_use_is_not_gone(case: str) -> None:
    gone, kept = decide(GONE[case], busy)
    assert gone == ()
    assert GPU in kept[0].reason


def test_groups_are_asked_only_where_libvirt_says_that_the_guest_ended() -> (
    None
):
    """Opening a group would disturb a guest that starts."""
    looked_at: list[UnitKey] = []

    def note(unit: Unit) -> str:
        looked_at.append(unit.key)
        return ""

    for seen in KEPT.values():
        decide(seen, note)
    assert looked_at == []
    decide(GONE["partly claimed"], note)
    assert [str(key.address) for key in looked_at] == [GPU]


def test_which_are_left_to_what_commands_begin_with() -> None:
    """What libvirt may start meanwhile: a start has to wait for them."""
    left = {
        case
        for case, seen in GONE.items()
        if decide(seen, idle).gone[0].is_left_to_recovery
    }
    assert left == {
        "transient, by the hook",
        "defined with them, by the hook",
        "attached, and its run has ended",
    }


def test_other_hosts_are_left_out() -> None:
    seen = observed([allocation(host="far")])
    assert decide(seen, idle) == ((), ())


@pytest.mark.parametrize(
    ("state", "defined", "is_hook", "states"),
    list(
        itertools.product(
            (None, *GuestState),
            (frozenset(), OWN, NOT_READ),
            (False, True),
            (
                *((state,) for state in State if state.is_held),
                (State.ACTIVE, State.RELEASING),
            ),
        )
    ),
)
def test_nothing_is_gone_that_runs_or_may_run(
    state: GuestState | None,
    defined: frozenset[address.Address] | Unknown,
    is_hook: bool,
    states: tuple[State, ...],
) -> None:
    """Against the rule in one line."""
    request = HOOK_REQUEST if is_hook else "gpu:1"
    domains = []
    if state is not None:
        is_active = state not in (GuestState.SHUT_OFF, GuestState.SAVED)
        domains = [
            domain(state=state, is_active=is_active, defined_functions=defined)
        ]
    seen = observed([allocation(A, *states, request=request)], [], domains)
    may_start = bool(domains) and not is_hook and defined != frozenset()
    expected = (
        state in (None, GuestState.SHUT_OFF)
        and not may_start
        and set(states) == {State.ACTIVE}
    )
    assert bool(decide(seen, idle).gone) is expected
    silent = ObservedInstances(HOST, seen.allocations, (), (), SILENT)
    assert decide(silent, idle).gone == ()


def test_reasons_golden() -> None:
    cases = {**GONE, **KEPT}
    lines = {
        case: [
            *(f"gone: {judged.reason}" for judged in decide(seen, idle).gone),
            *(f"kept: {judged.reason}" for judged in decide(seen, idle).kept),
        ]
        for case, seen in cases.items()
    }
    (judged,) = decide(GONE["transient"], busy).kept
    lines["in use"] = [f"kept: {judged.reason}"]
    assert_golden(
        Path(__file__).with_name("gone_instances.txt"), sections(lines)
    )
