"""Which guests may start, and what is claimed for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpu_passthrough_plugin.compute.hook import unit_states
from gpu_passthrough_plugin.compute.hook.unit_states import (
    Decision,
    LedgerView,
)
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.function import Header
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST, HookMode
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.golden import assert_golden, sections
from tests.unit.compute.hook.build import (
    AUDIO,
    CARD,
    GPU,
    HOST,
    ME,
    OTHER,
    PORT,
    SECOND,
    VF,
    decide,
    group,
    guest,
    keys,
    ledger,
    member,
    record,
    refusal,
    takes,
    vgpu,
)

WHOLE = guest(GPU, AUDIO)
UNIT = UnitKey(HOST, address.parse(GPU))
LOOSE = group(GPU, AUDIO, drivers="vfio-pci snd_hda_intel")
HELD = State.CLAIMED, State.PREPARING, State.ACTIVE


def test_a_whole_group_is_taken() -> None:
    assert takes(decide(WHOLE, ledger(record()))) == [GPU]


@pytest.mark.parametrize("reserved", ["vfio-pci", "pci-stub", "none"])
def test_a_primary_is_taken_while_its_companion_is_reserved(
    reserved: str,
) -> None:
    members = group(GPU, AUDIO, drivers=f"vfio-pci {reserved}")
    assert takes(decide(guest(GPU), ledger(record()), members)) == [GPU]


@pytest.mark.parametrize(
    ("mode", "taken", "is_fine"),
    [
        ("any", (GPU, AUDIO), True),
        ("any", (GPU,), True),
        ("full", (GPU, AUDIO), True),
        ("full", (GPU,), False),
        ("primary", (GPU, AUDIO), False),
        ("primary", (GPU,), True),
        ("any", (AUDIO,), False),
        ("full", (AUDIO,), False),
        ("primary", (AUDIO,), False),
    ],
)
def test_shapes(mode: str, taken: tuple[str, ...], is_fine: bool) -> None:
    made = decide(guest(*taken), ledger(record()), mode=HookMode(mode))
    if is_fine:
        assert takes(made) == [GPU]
        return
    message = refusal(made)
    assert f"takes {', '.join(taken)} of IOMMU group 18" in message
    assert ("[hook] mode" in message) == (mode == "primary")


def test_a_loose_companion_is_named_with_its_driver() -> None:
    message = refusal(decide(guest(GPU), ledger(record()), LOOSE))
    assert f"{AUDIO} is on snd_hda_intel" in message


def test_half_of_two_primaries() -> None:
    both = (GPU, SECOND, AUDIO)
    book = ledger(record(places=both))
    assert takes(decide(guest(GPU, SECOND), book, group(*both))) == [GPU]
    assert takes(decide(guest(*both), book, group(*both))) == [GPU]
    assert SECOND in refusal(decide(WHOLE, book, group(*both)))


def test_a_group_without_companions_has_one_shape() -> None:
    alone = ledger(record(places=(SECOND,)))
    for mode in HookMode:
        made = decide(guest(SECOND), alone, group(SECOND), mode=mode)
        assert takes(made) == [SECOND]


@pytest.mark.parametrize("state", HELD)
def test_what_is_anothers_is_refused(state: State) -> None:
    message = refusal(decide(WHOLE, ledger(record(state, OTHER))))
    for datum in (str(UNIT), state, OTHER):
        assert datum in message


def test_what_is_quarantined_is_refused() -> None:
    message = refusal(decide(WHOLE, ledger(record(State.QUARANTINED))))
    for datum in ("fan is loud", f"unit clear {UNIT}"):
        assert datum in message


def test_a_cordoned_host_offers_nothing_and_keeps_what_is_held() -> None:
    off = ledger(record(), cordon_reason="new roof")
    assert "new roof" in refusal(decide(WHOLE, off))
    held = ledger(
        record(State.CLAIMED, ME), request="gpu:1", cordon_reason="new roof"
    )
    assert keys(decide(WHOLE, held).moves) == [GPU]


def test_its_own_claim_becomes_active() -> None:
    book = ledger(record(State.CLAIMED, ME), request="gpu:1")
    made = decide(WHOLE, book)
    assert (keys(made.takes), keys(made.moves)) == ([], [GPU])


def test_what_is_active_for_it_stays_so() -> None:
    made = decide(WHOLE, ledger(record(State.ACTIVE, ME)))
    assert made == Decision()


@pytest.mark.parametrize("state", [State.RELEASING, State.SANITISING])
@pytest.mark.parametrize("journal", [True, False])
@pytest.mark.parametrize("holder", [ME, OTHER])
def test_what_is_being_released_is_waited_for(
    state: State, journal: bool, holder: str
) -> None:
    book = ledger(record(state, holder))
    made = decide(WHOLE, book, is_in_journal=journal)
    assert made == Decision(waits_for=(UNIT,))


def test_what_a_boot_of_ours_prepared_is_let_through() -> None:
    """In its own shape, whatever the mode."""
    book = ledger(record(State.PREPARING, ME))
    made = decide(WHOLE, book, mode=HookMode.PRIMARY, is_in_journal=True)
    assert made == Decision()
    assert f"instance release {ME}" in refusal(decide(WHOLE, book))


def test_what_a_command_defined_is_let_through() -> None:
    """In its own shape, whatever the mode; libvirt starts it itself."""
    book = ledger(record(State.CLAIMED, ME))
    assert refusal(decide(WHOLE, book, mode=HookMode.PRIMARY))
    taker = dataclasses.replace(WHOLE, takes_groups=True)
    made = decide(taker, book, mode=HookMode.PRIMARY)
    assert (keys(made.takes), keys(made.moves)) == ([], [GPU])


@pytest.mark.parametrize("state", [State.FREE, State.CLAIMED])
def test_a_release_that_is_not_over_is_waited_for(state: State) -> None:
    """Its last act takes the instance out of the journal."""
    book = ledger(record(state, None if state == "free" else ME))
    made = decide(WHOLE, book, is_in_journal=True)
    assert made == Decision(waits_for=(UNIT,))


TWO = {18: CARD, 19: group(SECOND)}
ALL = guest(GPU, AUDIO, SECOND)
FREE_SECOND = record(places=(SECOND,))


def test_no_claim_grows() -> None:
    book = ledger(record(State.CLAIMED, ME), FREE_SECOND, request="gpu:1")
    message = refusal(decide(ALL, book, TWO))
    for datum in (str(UNIT), "gpu:1", SECOND, ME):
        assert datum in message
    refusal(decide(ALL, ledger(record(State.ACTIVE, ME), FREE_SECOND), TWO))
    book = ledger(record(State.RELEASING, ME), FREE_SECOND)
    assert set(decide(ALL, book, TWO).waits_for) == {UNIT}


def test_what_it_holds_elsewhere_counts() -> None:
    there = record(State.ACTIVE, ME, (SECOND,))
    held = Allocation(ME, "there", HOOK_REQUEST, (there,))
    book = LedgerView((record(),), allocation=held)
    assert str(there.unit.key) in refusal(decide(WHOLE, book))


def test_two_groups_are_taken_together_or_not_at_all() -> None:
    book = ledger(record(), FREE_SECOND)
    assert takes(decide(ALL, book, TWO)) == [GPU, SECOND]
    book = ledger(record(State.ACTIVE, OTHER), FREE_SECOND)
    assert OTHER in refusal(decide(ALL, book, TWO))


def test_a_group_that_changed_since_it_was_published() -> None:
    message = refusal(decide(WHOLE, ledger(record(places=(GPU,)))))
    assert "inventory sync" in message
    merged = group(GPU, AUDIO, SECOND)
    refusal(decide(ALL, ledger(record(), FREE_SECOND), merged))
    exchanged = member(GPU)
    other = exchanged.function._replace(product_id=0xFFFF)
    members = (exchanged._replace(function=other), *group(AUDIO))
    refusal(decide(WHOLE, ledger(record()), members))


def dead(place: str) -> Member:
    alive = member(place)
    assert alive.detail is not None
    return alive._replace(detail=alive.detail._replace(header=Header.DEAD))


def test_a_dead_function_is_refused() -> None:
    members = (*group(GPU), dead(AUDIO))
    assert AUDIO in refusal(decide(WHOLE, ledger(record()), members))


UNREAD = Unknown(Why.UNREADABLE, "Input/output error")


def unread() -> dict[str, Member]:
    """AUDIO, each time with one fact that could not be read."""
    whole = member(AUDIO, "snd_hda_intel")
    function, detail = whole.function, whole.detail
    assert detail is not None
    return {
        "vendor": whole._replace(function=function._replace(vendor_id=UNREAD)),
        "product": whole._replace(
            function=function._replace(product_id=UNREAD)
        ),
        "class": whole._replace(function=function._replace(class_code=UNREAD)),
        "driver": whole._replace(
            function=function._replace(driver=UNREAD),
            detail=detail._replace(is_on_vfio=UNREAD),
        ),
        "header": whole._replace(detail=detail._replace(header=UNREAD)),
        "is_on_vfio": whole._replace(
            detail=detail._replace(is_on_vfio=UNREAD)
        ),
    }


@pytest.mark.parametrize("name", unread())
@pytest.mark.parametrize("is_running", [False, True])
def test_what_cannot_be_read_is_no_fact(name: str, is_running: bool) -> None:
    members = (*group(GPU), unread()[name])
    made = decide(WHOLE, ledger(record()), members, is_running=is_running)
    message = refusal(made)
    assert f"{AUDIO} is unknown" in message
    assert str(UNREAD) in message


def test_a_selected_function_that_is_in_no_unit() -> None:
    message = refusal(decide(WHOLE, ledger()))
    assert f"{GPU} of IOMMU group 18" in message
    assert "inventory sync" in message


def test_what_is_excluded_goes_to_no_guest() -> None:
    made = decide(guest(VF), ledger(), group(VF), excluded=VF)
    assert "[discovery] exclude" in refusal(made)


def test_a_bridge_goes_to_no_guest() -> None:
    taker = guest(GPU, AUDIO, PORT)
    assert PORT in refusal(decide(taker, ledger(record())))


def test_of_a_running_guest_only_whose_its_units_are_is_asked() -> None:
    made = decide(guest(GPU), ledger(record()), LOOSE, is_running=True)
    assert takes(made) == [GPU]
    active = ledger(record(State.ACTIVE, OTHER))
    made = decide(guest(GPU), active, LOOSE, is_running=True)
    assert OTHER in refusal(made)


@pytest.mark.parametrize("request_text", [HOOK_REQUEST, "gpu:1"])
@pytest.mark.parametrize("state", State)
def test_what_is_to_be_released_of_a_guest_that_ended(
    state: State, request_text: str
) -> None:
    held = Allocation(ME, HOST, request_text, (record(state, ME),))
    claimed = state is State.CLAIMED and request_text == HOOK_REQUEST
    ending = state in (State.RELEASING, State.SANITISING)
    assert unit_states.is_ending(held) == (ending or claimed)
    assert not unit_states.is_ending(None)


NEEDED = {VF: f"the host needs {VF} for default route (eno1) over eno1"}


def test_messages() -> None:
    whole = ledger(record())
    busy = group(GPU, AUDIO, drivers="nouveau snd_hda_intel")
    shared = group(VF, "0000:05:00.2", drivers="iavf iavf")
    growing = ledger(record(State.ACTIVE, ME), FREE_SECOND)
    claimed = ledger(record(State.CLAIMED, ME), FREE_SECOND, request="gpu:1")
    full, primary = HookMode.FULL, HookMode.PRIMARY
    made = {
        "half": decide(guest(GPU), whole, LOOSE),
        "half, full": decide(guest(GPU), whole, mode=full),
        "companion, primary": decide(guest(AUDIO), whole, mode=primary),
        "whole, primary": decide(WHOLE, whole, mode=primary),
        "another's": decide(WHOLE, ledger(record(State.ACTIVE, OTHER))),
        "quarantined": decide(WHOLE, ledger(record(State.QUARANTINED))),
        "cordoned": decide(WHOLE, ledger(record(), cordon_reason="roof")),
        "half prepared": decide(WHOLE, ledger(record(State.PREPARING, ME))),
        "grows": decide(ALL, growing, TWO),
        "grows beyond a claim": decide(ALL, claimed, TWO),
        "changed": decide(WHOLE, ledger(record(places=(GPU,)))),
        "dead": decide(WHOLE, whole, (*group(GPU), dead(AUDIO))),
        "unpublished": decide(WHOLE, ledger()),
        "excluded": decide(WHOLE, whole, excluded=AUDIO),
        "needed": decide(
            guest(GPU),
            whole,
            group(GPU, VF, drivers="nouveau igb"),
            unspared=NEEDED,
        ),
        "bridge": decide(guest(GPU, AUDIO, PORT), whole),
        "not viable": decide(guest(VF), ledger(), shared),
        "not managed, no unit": decide(
            guest(VF, is_managed=False), ledger(), group(VF, drivers="iavf")
        ),
        "no vGPU": decide(
            guest(VF, is_managed=False),
            ledger(),
            (vgpu(vgpu_type=0),),
        ),
        "managed vGPU": decide(
            guest(VF), ledger(), (vgpu(vgpu_type=1120, is_on_vfio=True),)
        ),
        "not managed": decide(
            guest(GPU, AUDIO, is_managed=False), whole, busy
        ),
        **{
            f"unread {name}": decide(WHOLE, whole, (*group(GPU), audio))
            for name, audio in unread().items()
        },
    }
    assert_golden(
        Path(__file__).with_name("decision.txt"),
        sections({name: each.refusals for name, each in made.items()}),
    )
