"""Laws of the hook's reader and of its decision."""

from __future__ import annotations

import itertools
from xml.sax.saxutils import quoteattr

import hypothesis
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import decision, document, script
from gpu_passthrough_plugin.compute.hook.decision import Patterns, Rules
from gpu_passthrough_plugin.model.guard import (
    HOOK,
    MODES,
    Group,
    Guest,
    Held,
    Ledger,
    Member,
)
from gpu_passthrough_plugin.model.unit import State

ME = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
OTHER = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"

numbers = st.one_of(
    st.integers(0, 300).map(hex),
    st.integers(0, 300).map(str),
    st.integers(0, 0x1F).map(lambda n: f"0x{n:02x}"),
    st.sampled_from(["", "0x", "-1", "1_0", "x", "0x20000000000"]),
)
addresses = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["pci", "usb"]),
        "domain": st.sampled_from(["0", "0x0000", "0x10000", "65536", "?"]),
        "bus": numbers,
        "slot": st.integers(0, 0x1F).map(hex) | numbers,
        "function": st.integers(0, 7).map(str) | numbers,
    },
)
names = st.sampled_from(
    [
        "a", "address", "alias", "devices", "disk", "domain", "hostdev",
        "interface", "metadata", "name", "source", "uuid",
    ]
)  # fmt: skip
texts = st.sampled_from(
    ["", " ", "x", "&amp;", "&#104;ostdev", "<!-- <hostdev> -->",
     "<![CDATA[<source/>]]>", "<?pi hostdev?>", ME]
)  # fmt: skip


def element(tag: str, attributes: dict[str, str], inside: str) -> str:
    given = "".join(f" {k}={quoteattr(v)}" for k, v in attributes.items())
    return f"<{tag}{given}>{inside}</{tag}>"


devices = st.builds(
    lambda tag, kind, more, given, place, before: element(
        tag,
        {"type": kind, **more},
        before + element("source", given, element("address", place, "")),
    ),
    st.sampled_from(["hostdev", "interface", "disk", "controller"]),
    st.sampled_from(["pci", "usb", "hostdev", "nvme", "network", "file"]),
    st.fixed_dictionaries(
        {}, optional={"managed": st.sampled_from(["yes", "no", "maybe"])}
    ),
    st.fixed_dictionaries({}, optional={"managed": st.just("yes")}),
    addresses,
    texts,
)
anything = st.recursive(
    texts,
    lambda inside: st.builds(
        element,
        names,
        st.fixed_dictionaries(
            {}, optional={"type": st.sampled_from(["pci", "hostdev"])}
        ),
        st.lists(inside, max_size=3).map("".join),
    ),
    max_leaves=8,
)


@st.composite
def domains(draw: st.DrawFn) -> str:
    """Domains, and what only looks like one."""
    uuid = draw(st.sampled_from([ME, ME.upper(), "", "none"]))
    parts = draw(st.lists(devices | anything, max_size=4))
    rest = draw(st.lists(anything, max_size=2))
    return (
        f"<domain type='kvm'>{''.join(rest[:1])}<name>g</name>"
        f"<uuid>{uuid}</uuid><devices>{''.join(parts)}</devices>"
        f"{''.join(rest[1:])}</domain>"
    )


@hypothesis.given(text=domains())
def test_what_is_let_through_by_words_takes_nothing(text: str) -> None:
    terms = script.Terms("/p/python3", "/p", (), {})
    names: dict[str, object] = {"__name__": "hook"}
    exec(script.script(terms), names)  # noqa: S102 - our own text
    is_free = names["is_free_of_functions"]
    assert callable(is_free)
    if is_free(text.encode()):
        assert document.guest(text.encode(), "g").functions == {}


@hypothesis.settings(max_examples=500)
@hypothesis.given(
    raw=st.binary(max_size=200)
    | domains().map(str.encode)
    | domains().map(lambda text: text.encode("utf-16")),
    cut=st.integers(0, 400),
    noise=st.binary(max_size=4),
)
def test_whatever_is_read_only_declared_errors_come_of_it(
    raw: bytes, cut: int, noise: bytes
) -> None:
    for text in (raw, raw[:cut] + noise + raw[cut:]):
        try:
            found = document.guest(text, "g")
        except errors.Invalid as error:
            assert str(error)
            continue
        assert bool(found.uuid) == bool(found.functions)


CARDS = ("0000:01:00", "0000:02:00", "0000:03:00")
DRIVERS = ("vfio-pci", "pci-stub", None, "nouveau", "snd_hda_intel")


@st.composite
def hosts(draw: st.DrawFn) -> tuple[tuple[Group, ...], Ledger]:
    """Groups of one or two cards, all of them published, in any state."""
    groups, units, has = [], [], []
    for number, card in enumerate(CARDS):
        count = draw(st.integers(1, 3))
        members = tuple(
            Member(
                f"{card}.{function}",
                f"10de:{function:04x}",
                "030000" if function == 0 else "040300",
                draw(st.sampled_from(DRIVERS)),
            )
            for function in range(count)
        )
        groups.append(Group(number, members))
        state = str(draw(st.sampled_from(State)))
        is_nobodys = state in ("free", "quarantined")
        holder = None if is_nobodys else draw(st.sampled_from([ME, OTHER]))
        key = members[0].address
        units.append(
            Held(
                key,
                {m.address: m.ids for m in members},
                frozenset({key}),
                state,
                holder,
            )
        )
        if holder == ME:
            has.append(("h", key, state))
    request = draw(st.sampled_from([HOOK, "gpu:1"])) if has else ""
    return tuple(groups), Ledger(tuple(units), None, request, tuple(has))


@hypothesis.settings(max_examples=500)
@hypothesis.given(
    host=hosts(),
    data=st.data(),
    mode=st.sampled_from(MODES),
    is_in_journal=st.booleans(),
)
def test_nothing_but_whole_units_of_its_own_are_let_through(
    host: tuple[tuple[Group, ...], Ledger],
    data: st.DataObject,
    mode: str,
    is_in_journal: bool,
) -> None:
    groups, ledger = host
    every = [m.address for g in groups for m in g.members]
    taken = data.draw(
        st.dictionaries(st.sampled_from(every), st.booleans(), min_size=1)
    )
    touched = tuple(
        g for g in groups if any(m.address in taken for m in g.members)
    )
    rules = Rules(mode, Patterns([]).match, Patterns([]).match)
    found = decision.answer(
        Guest("g", ME, taken),
        touched,
        ledger,
        rules,
        is_in_journal=is_in_journal,
    )
    units = {u.key: u for u in ledger.units}
    if found.refusals or found.waits_for:
        assert found.changes_nothing
        assert all(r and "\n" not in r for r in found.refusals)
        assert all(units[key].state != "active" for key in found.waits_for)
        return
    for group in touched:
        unit = units[group.members[0].address]
        assert unit.consumer in (None, ME)
        assert unit.state in ("free", "claimed", "active", "preparing")
        is_its_own = unit.state in ("active", "preparing")
        is_taken = unit.key in (*found.takes, *found.moves)
        assert is_taken != is_its_own
        missing = unit.functions.keys() - taken.keys()
        assert unit.key in taken
        if missing:
            assert mode != "full" or is_in_journal
        elif len(unit.functions) > 1:
            assert mode != "primary" or is_in_journal
        for member in group.members:
            is_bound = taken.get(member.address, False)
            fits = (None, "vfio-pci", "pci-stub")
            assert is_bound or member.driver in fits
    assert {units[key].state for key in found.takes} <= {"free"}
    assert {units[key].state for key in found.moves} <= {"claimed"}
    assert set(itertools.chain(found.takes, found.moves)) <= {
        g.members[0].address for g in touched
    }
