"""Laws of the hook's decision, and of the script that asks for it."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from xml.sax.saxutils import quoteattr

import hypothesis
import pytest
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.compute.hook.unit_states import Guest, LedgerView
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import (
    HostFunctions,
    host_functions,
)
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST, HookMode
from gpu_passthrough_plugin.model.unit import State
from tests.unit.compute.hook.build import (
    ME,
    OTHER,
    decide,
    ledger,
    member,
)
from tests.unit.compute.hook.build import record as unit_record

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


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hook of a product that is gone: it refuses what Python must see."""
    gone = script.Program("/gone/python3", "/gone/entry.py", ())
    path = tmp_path_factory.mktemp("hook") / "hook"
    path.write_bytes(script.script(gone))
    return path


def read(text: bytes) -> HostFunctions:
    return host_functions(domain_xml.tree(text, "g").getroot())


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(text=domains())
def test_what_passes_without_python_takes_nothing(
    program: Path, text: str
) -> None:
    raw = text.encode()
    done = subprocess.run(
        ("sh", program, "g", "prepare", "begin", "-"),
        input=raw,
        capture_output=True,
        check=False,
    )
    hypothesis.event(f"passes: {done.returncode == 0}")
    if done.returncode == 0:
        assert read(raw) == HostFunctions((), ())


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
            read(text)
        except errors.Invalid as error:
            assert len(str(error).splitlines()) == 1


CARDS = ("0000:01:00", "0000:02:00", "0000:03:00")
DRIVERS = ("vfio-pci", "pci-stub", None, "nouveau", "snd_hda_intel")

Host = tuple[dict[int, tuple[Member, ...]], LedgerView]


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    """Groups of one to three functions, each a unit, in any state."""
    groups, units = {}, []
    for number, card in enumerate(CARDS):
        count = draw(st.integers(1, 3))
        members = tuple(
            member(f"{card}.{function}", draw(st.sampled_from(DRIVERS)))
            for function in range(count)
        )
        groups[number] = members
        state = draw(st.sampled_from(State))
        is_nobodys = state in (State.FREE, State.QUARANTINED)
        holder = None if is_nobodys else draw(st.sampled_from([ME, OTHER]))
        first, *others = (str(m.address) for m in members)
        units.append(unit_record(state, holder, (first, *others), others))
    request = draw(st.sampled_from([HOOK_REQUEST, "gpu:1"]))
    return groups, ledger(*units, request=request)


@hypothesis.settings(max_examples=500)
@hypothesis.given(
    host=hosts(),
    data=st.data(),
    mode=st.sampled_from(HookMode),
    is_in_journal=st.booleans(),
)
def test_nothing_but_whole_units_of_its_own_are_let_through(
    host: Host, data: st.DataObject, mode: HookMode, is_in_journal: bool
) -> None:
    groups, book = host
    every = [m.address for members in groups.values() for m in members]
    taken = data.draw(
        st.dictionaries(st.sampled_from(every), st.booleans(), min_size=1)
    )
    touched = {
        number: members
        for number, members in groups.items()
        if any(m.address in taken for m in members)
    }
    made = decide(
        Guest(ME, taken), book, touched, mode=mode, is_in_journal=is_in_journal
    )
    records = {r.unit.key: r for r in book.records}
    if made.refusals or made.waits_for:
        assert made.changes_nothing
        assert all(r and "\n" not in r for r in made.refusals)
        states = {records[key].state for key in made.waits_for}
        assert State.ACTIVE not in states
        return
    changed = {r.unit.key for r in itertools.chain(made.takes, made.moves)}
    by_address = {r.unit.key.address: r for r in book.records}
    for members in touched.values():
        record = by_address[members[0].address]
        assert record.consumer in (None, ME)
        is_its_own = record.state in (State.ACTIVE, State.PREPARING)
        assert (record.unit.key in changed) != is_its_own
        missing = {m.address for m in members} - taken.keys()
        assert record.unit.key.address in taken
        if missing:
            assert mode is not HookMode.FULL or is_in_journal
        elif len(members) > 1:
            assert mode is not HookMode.PRIMARY or is_in_journal
        for each in members:
            is_bound = taken.get(each.address, False)
            fits = (None, "vfio-pci", "pci-stub")
            assert is_bound or each.function.driver in fits
    assert {r.state for r in made.takes} <= {State.FREE}
    assert {r.state for r in made.moves} <= {State.CLAIMED}
    assert changed <= {
        by_address[m[0].address].unit.key for m in touched.values()
    }
