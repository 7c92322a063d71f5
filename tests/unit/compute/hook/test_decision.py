"""Which guests may start, and what is claimed for them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from gpu_passthrough_plugin.compute.hook import decision, states
from gpu_passthrough_plugin.compute.hook.decision import Patterns, Rules
from gpu_passthrough_plugin.model import guard, selector
from gpu_passthrough_plugin.model.guard import (
    HOOK,
    Answer,
    Group,
    Guest,
    Held,
    Ledger,
    Member,
)
from gpu_passthrough_plugin.model.unit import State

ME = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
OTHER = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"
GPU, AUDIO, PORT = "0000:06:00.0", "0000:06:00.1", "0000:00:02.0"
SECOND = "0000:07:00.0"
VF = "0000:05:00.1"
IDS = {GPU: "10de:1430", AUDIO: "10de:0fba", SECOND: "10de:1430"}
CLASS = {GPU: "030000", SECOND: "030000", AUDIO: "040300", VF: "020000"}


def rules(mode: str = "any", exclude: str = "") -> Rules:
    excluded = [("address", exclude)] if exclude else []
    return Rules(
        mode,
        Patterns([("class", "03[0-9a-f]*")]).match,
        Patterns(excluded).match,
    )


def group(
    *addresses: str,
    number: int = 18,
    drivers: str = "vfio-pci",
    dead: Iterable[str] = (),
) -> Group:
    """A group; ``drivers`` are of its members, or all of theirs."""
    each = drivers.split() * (1 if " " in drivers else len(addresses))
    return Group(
        number,
        tuple(
            Member(
                address,
                IDS.get(address, "8086:154c"),
                CLASS.get(address, "060400"),
                None if driver == "none" else driver,
                is_bridge=address == PORT,
                is_dead=address in dead,
            )
            for address, driver in zip(addresses, each, strict=True)
        ),
    )


def guest(*addresses: str, managed: bool = True) -> Guest:
    return Guest("g", ME, dict.fromkeys(addresses, managed))


def unit(
    state: str = "free",
    consumer: str | None = None,
    addresses: tuple[str, ...] = (GPU, AUDIO),
) -> Held:
    return Held(
        addresses[0],
        {address: IDS[address] for address in addresses},
        frozenset(a for a in addresses if a != AUDIO),
        state,
        consumer,
        "fan is loud",
    )


def ledger(*units: Held, request: str = HOOK) -> Ledger:
    own = [u for u in units if u.consumer == ME]
    has = tuple(("h", u.key, u.state) for u in own)
    return Ledger(units, request=request if own else "", has=has)


CARD = group(GPU, AUDIO, PORT, drivers="vfio-pci vfio-pci pcieport")


def asked(
    taker: Guest,
    book: Ledger,
    found: Group | tuple[Group, ...] = CARD,
    *,
    by: Rules | None = None,
    is_in_journal: bool = False,
    is_running: bool = False,
) -> Answer:
    groups = found if isinstance(found, tuple) else (found,)
    return decision.answer(
        taker,
        groups,
        book,
        by or rules(),
        is_in_journal=is_in_journal,
        is_running=is_running,
    )


def refusal(answer: Answer) -> str:
    assert answer.changes_nothing
    assert not (answer.takes or answer.moves or answer.waits_for)
    assert answer.refusals
    return "; ".join(answer.refusals)


def test_words_are_the_ledgers() -> None:
    words = {
        states.FREE,
        states.CLAIMED,
        states.PREPARING,
        states.ACTIVE,
        states.QUARANTINED,
        *guard.ENDING,
    }
    assert words == {str(state) for state in State}


def test_a_whole_group_is_taken() -> None:
    found = asked(guest(GPU, AUDIO), ledger(unit()))
    assert (found.takes, found.moves) == ((GPU,), ())
    assert not (found.refusals or found.waits_for or found.changes_nothing)


@pytest.mark.parametrize("reserved", ["vfio-pci", "pci-stub", "none"])
def test_a_primary_is_taken_while_its_companion_is_reserved(
    reserved: str,
) -> None:
    found = group(GPU, AUDIO, drivers=f"vfio-pci {reserved}")
    assert asked(guest(GPU), ledger(unit()), found).takes == (GPU,)


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
    found = asked(guest(*taken), ledger(unit()), by=rules(mode))
    if is_fine:
        assert found.takes == (GPU,)
        return
    said = refusal(found)
    assert f"takes {', '.join(taken)} of IOMMU group 18" in said
    assert "wanted" in said
    assert ("[hook] mode" in said) == (mode == "primary")


def test_a_loose_companion_is_named_with_its_driver() -> None:
    found = group(GPU, AUDIO, drivers="vfio-pci snd_hda_intel")
    said = refusal(asked(guest(GPU), ledger(unit()), found))
    assert f"without {AUDIO}, while {AUDIO} is on snd_hda_intel" in said
    assert said.count(AUDIO) == 4


def test_half_of_two_primaries() -> None:
    both = (GPU, SECOND, AUDIO)
    found = group(*both)
    book = ledger(unit(addresses=both))
    assert asked(guest(GPU, SECOND), book, found).takes == (GPU,)
    assert asked(guest(*both), book, found).takes == (GPU,)
    said = refusal(asked(guest(GPU, AUDIO), book, found))
    assert f"without {SECOND}" in said


def test_a_group_without_companions_has_one_shape() -> None:
    alone = ledger(unit(addresses=(SECOND,)))
    for mode in guard.MODES:
        found = asked(guest(SECOND), alone, group(SECOND), by=rules(mode))
        assert found.takes == (SECOND,)


@pytest.mark.parametrize("state", ["claimed", "preparing", "active"])
def test_what_is_anothers_is_refused(state: str) -> None:
    said = refusal(asked(guest(GPU, AUDIO), ledger(unit(state, OTHER))))
    assert f"{GPU} is {state} for {OTHER}" in said


def test_what_is_quarantined_is_refused() -> None:
    said = refusal(asked(guest(GPU, AUDIO), ledger(unit("quarantined"))))
    assert "fan is loud" in said
    assert f"unit clear {GPU}" in said


def test_a_disabled_host_offers_nothing_and_keeps_what_is_held() -> None:
    off = Ledger((unit(),), disabled="new roof")
    assert "disabled (new roof)" in refusal(asked(guest(GPU, AUDIO), off))
    held = unit("claimed", ME)
    off = Ledger((held,), "new roof", "gpu:1", (("h", GPU, "claimed"),))
    assert asked(guest(GPU, AUDIO), off).moves == (GPU,)


def test_its_own_claim_becomes_active() -> None:
    book = ledger(unit("claimed", ME), request="gpu:1")
    found = asked(guest(GPU, AUDIO), book)
    assert (found.takes, found.moves) == ((), (GPU,))


def test_what_is_active_for_it_stays_so() -> None:
    found = asked(guest(GPU, AUDIO), ledger(unit("active", ME)))
    assert found.changes_nothing
    assert not found.refusals


@pytest.mark.parametrize("state", ["releasing", "sanitising"])
@pytest.mark.parametrize("journal", [True, False])
@pytest.mark.parametrize("holder", [ME, OTHER])
def test_what_is_being_given_back_is_waited_for(
    state: str, journal: bool, holder: str
) -> None:
    book = ledger(unit(state, holder))
    found = asked(guest(GPU, AUDIO), book, is_in_journal=journal)
    assert found.waits_for == (GPU,)
    assert found.changes_nothing
    assert not found.refusals


def test_what_a_boot_of_ours_prepared_is_let_through() -> None:
    """In its own shape, whatever the mode."""
    book = ledger(unit("preparing", ME))
    found = asked(
        guest(GPU, AUDIO), book, by=rules("primary"), is_in_journal=True
    )
    assert found.changes_nothing
    assert not (found.refusals or found.waits_for)
    said = refusal(asked(guest(GPU, AUDIO), book))
    assert f"instance release {ME}" in said


@pytest.mark.parametrize("state", ["free", "claimed"])
def test_a_release_that_is_not_over_is_waited_for(state: str) -> None:
    """Its last act takes the instance out of the journal."""
    book = ledger(unit(state, None if state == "free" else ME))
    found = asked(guest(GPU, AUDIO), book, is_in_journal=True)
    assert found.waits_for == (GPU,)


def test_no_claim_grows() -> None:
    two = (CARD, group(SECOND, number=19))
    free = unit(addresses=(SECOND,))
    taker = guest(GPU, AUDIO, SECOND)
    book = ledger(unit("claimed", ME), free, request="gpu:1")
    said = refusal(asked(taker, book, two))
    assert f"holds h/{GPU} by its claim of gpu:1" in said
    assert f"takes {SECOND} as well" in said
    book = ledger(unit("active", ME), free)
    assert "since before" in refusal(asked(taker, book, two))
    book = ledger(unit("releasing", ME), free)
    assert set(asked(taker, book, two).waits_for) == {GPU}


def test_what_it_holds_elsewhere_counts() -> None:
    book = Ledger((unit(),), None, HOOK, (("there", SECOND, "active"),))
    assert f"there/{SECOND}" in refusal(asked(guest(GPU, AUDIO), book))


def test_two_groups_are_taken_together_or_not_at_all() -> None:
    two = (CARD, group(SECOND, number=19))
    free = unit(addresses=(SECOND,))
    taker = guest(GPU, AUDIO, SECOND)
    assert asked(taker, ledger(unit(), free), two).takes == (GPU, SECOND)
    book = ledger(unit("active", OTHER), free)
    assert OTHER in refusal(asked(taker, book, two))


def test_a_group_that_changed_since_it_was_published() -> None:
    book = ledger(unit(addresses=(GPU,)))
    said = refusal(asked(guest(GPU, AUDIO), book))
    assert "no longer what was published" in said
    assert "inventory sync" in said
    merged = group(GPU, AUDIO, SECOND)
    book = ledger(unit(), unit(addresses=(SECOND,)))
    refusal(asked(guest(GPU, AUDIO, SECOND), book, merged))
    exchanged = Member(GPU, "10de:ffff", "030000", "vfio-pci")
    other = Group(18, (exchanged, *group(AUDIO).members))
    refusal(asked(guest(GPU, AUDIO), ledger(unit()), other))


def test_a_dead_function_is_refused() -> None:
    found = group(GPU, AUDIO, dead=(AUDIO,))
    said = refusal(asked(guest(GPU, AUDIO), ledger(unit()), found))
    assert f"{AUDIO} does not answer" in said


def test_a_selected_function_that_is_in_no_unit() -> None:
    said = refusal(asked(guest(GPU, AUDIO), ledger()))
    assert f"{GPU} of IOMMU group 18 is selected" in said
    assert "inventory sync" in said


def test_what_is_excluded_goes_to_no_guest() -> None:
    by = rules(exclude=VF)
    said = refusal(asked(guest(VF), ledger(), group(VF), by=by))
    assert "[discovery] exclude" in said


def test_a_bridge_goes_to_no_guest() -> None:
    taker = guest(GPU, AUDIO, PORT)
    assert f"{PORT} is a bridge" in refusal(asked(taker, ledger(unit())))


def test_others_groups_have_to_be_viable() -> None:
    """A virtual function of a NIC is none of the ledger's."""
    assert asked(guest(VF), ledger(unit()), group(VF)).changes_nothing
    shared = group(VF, "0000:05:00.2", drivers="iavf iavf")
    said = refusal(asked(guest(VF), ledger(), shared))
    assert "not viable: 0000:05:00.2 is on iavf" in said
    both = asked(guest(VF, "0000:05:00.2"), ledger(), shared)
    assert not both.refusals


def test_a_function_that_nobody_binds() -> None:
    found = group(GPU, AUDIO, drivers="nouveau vfio-pci")
    taker = guest(GPU, AUDIO, managed=False)
    said = refusal(asked(taker, ledger(unit()), found))
    assert f"{GPU} is on nouveau" in said
    assert "managed='yes'" in said
    variant = group(GPU, AUDIO, drivers="nvgrace_gpu_vfio_pci vfio-pci")
    assert asked(taker, ledger(unit()), variant).takes == (GPU,)


def test_a_running_guest_is_only_asked_whose_its_units_are() -> None:
    loose = group(GPU, AUDIO, drivers="vfio-pci snd_hda_intel")
    taker = guest(GPU)
    found = asked(taker, ledger(unit()), loose, is_running=True)
    assert found.takes == (GPU,)
    found = asked(taker, ledger(unit("active", OTHER)), loose, is_running=True)
    assert OTHER in refusal(found)


@pytest.mark.parametrize(
    "text", ["class=03*", "10de:1430", "10de:*", "0000:06:00.*", "class=0300"]
)
def test_patterns_are_the_selectors(text: str) -> None:
    from gpu_passthrough_plugin.flow import books

    chosen = Patterns(books.patterns((selector.parse(text),)))
    first, *_ = group(GPU).members
    other, *_ = group(VF).members
    assert chosen.match(first)
    assert not chosen.match(other)
    assert not Patterns(()).match(first)
