"""Which box of a picture is in which, and the state of each group."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.model.allocation import UnitListing
from gpu_passthrough_plugin.model.group import (
    NO_PRIMARY,
    Group,
    Reason,
    Verdict,
)
from gpu_passthrough_plugin.model.selector import SelectionState
from gpu_passthrough_plugin.model.unit import State, UnitRecord
from gpu_passthrough_plugin.picture import document
from gpu_passthrough_plugin.picture.host_picture import (
    BridgePicture,
    FunctionPicture,
    GroupPicture,
    LedgerState,
    Mark,
)
from gpu_passthrough_plugin.picture.nesting import mark
from tests.trees import hosts
from tests.trees.host import Host
from tests.trees.hosts import HOSTS
from tests.trees.seed import seed
from tests.unit.allocation.build import unit
from tests.unit.picture.build import addresses, drawn, every, groups

REASON = Reason("host-critical", "it has the root disk", "leave it")
UNSELECTED = Reason(NO_PRIMARY, "not selected", "select it")


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_every_function_is_there_once(name: str) -> None:
    host = HOSTS[name]()
    shown = addresses(drawn(host))
    tree = host.tree()
    names = tree.names("sys/bus/pci/devices")
    assert isinstance(names, tuple)
    assert sorted(shown) == sorted(names)


def test_nodes_and_groups_of_the_seed() -> None:
    picture = drawn(seed())
    assert [n.title for n in picture.nodes] == ["NUMA node 0", "NUMA node 1"]
    port, _ = picture.nodes[1].items
    assert isinstance(port, BridgePicture)
    (group,) = port.items
    assert port.group == 36
    assert isinstance(group, GroupPicture)
    assert (group.number, group.mark) == (38, Mark.READY)
    gpu, audio = group.items
    assert isinstance(gpu, FunctionPicture)
    assert isinstance(audio, FunctionPicture)
    assert (gpu.label, gpu.kind, gpu.is_primary) == ("Card", "display", True)
    assert (audio.kind, audio.is_primary) == ("audio", False)
    assert gpu.facts[0] == "vfio-pci"


def test_an_area_is_around_bridges_that_are_not_isolated() -> None:
    group = groups(drawn(hosts.shared_group()))[20]
    (bridge,) = group.items
    assert isinstance(bridge, BridgePicture)
    assert bridge.function.address == "0000:04:00.0"
    # What is below is in the same area, without another one.
    inner = [f for f in every(group) if isinstance(f, FunctionPicture)]
    assert len(inner) == 4


def test_many_virtual_functions_are_one() -> None:
    host = Host()
    host.function("0000:01:00.0", "8086:56c0", "030000", vfs=(31, 20), group=1)
    for number in range(1, 21):
        slot, place = divmod(number, 8)
        host.function(
            f"0000:01:{slot:02x}.{place}",
            "8086:56c0",
            "030000",
            physical="0000:01:00.0",
            group=1 + number,
        )
    picture = drawn(host)
    assert len(addresses(picture)) == 21
    folded = [g for g in groups(picture).values() if g.more]
    (group,) = folded
    assert (group.number, len(group.more)) == (2, 19)
    (function,) = group.items
    assert isinstance(function, FunctionPicture)
    assert len(function.folded) == 19
    # Two are shown each.
    few = drawn(hosts.virtual_functions())
    assert not [g for g in groups(few).values() if g.more]


@pytest.mark.parametrize(
    ("reasons", "state", "ledger", "expected"),
    [
        ((UNSELECTED,), SelectionState.NOT_SELECTED, None, Mark.NOT_SELECTED),
        ((REASON,), SelectionState.SELECTED, None, Mark.KEPT),
        ((UNSELECTED, REASON), SelectionState.NOT_SELECTED, None, Mark.KEPT),
        ((), SelectionState.SELECTED, None, Mark.SELECTED),
        ((), SelectionState.PENDING, None, Mark.PENDING),
        ((), SelectionState.ACTIVE, None, Mark.READY),
        ((), SelectionState.ACTIVE, LedgerState(State.FREE), Mark.FREE),
        ((), SelectionState.ACTIVE, LedgerState(State.ACTIVE, "g"), Mark.HELD),
        (
            (REASON,),
            SelectionState.ACTIVE,
            LedgerState(State.QUARANTINED, reason="ff"),
            Mark.QUARANTINED,
        ),
    ],
)
def test_the_state_of_a_group(
    reasons: tuple[Reason, ...],
    state: SelectionState,
    ledger: LedgerState | None,
    expected: Mark,
) -> None:
    found, detail = mark(Group(1, (), Verdict(reasons, ())), state, ledger)
    assert found is expected
    if found is Mark.KEPT:
        assert detail == "it has the root disk"
    if found is Mark.HELD:
        assert detail == "active for g"


def test_what_the_ledger_has() -> None:
    record = UnitRecord(unit(0x82), State.ACTIVE, "uuid-1", 3, False, "")
    found = groups(drawn(seed(), UnitListing((record,))))
    assert found[38].mark is Mark.HELD
    assert found[38].detail == "active for uuid-1"
    assert found[39].mark is Mark.READY


def test_virtual_functions_of_one_group_are_one() -> None:
    host = Host()
    host.function("0000:01:00.0", "8086:56c0", "030000", vfs=(7, 7), group=1)
    for number in range(1, 8):
        host.function(
            f"0000:01:00.{number}",
            "8086:56c0",
            "030000",
            physical="0000:01:00.0",
            group=1,
        )
    (group,) = groups(drawn(host)).values()
    physical, virtual = group.items
    assert isinstance(physical, FunctionPicture)
    assert isinstance(virtual, FunctionPicture)
    assert physical.folded == ()
    assert virtual.address == "0000:01:00.1" and len(virtual.folded) == 6
    shown = document.text(drawn(host), "svg")
    assert "and 6 more" in shown


def test_switches_of_a_fabric_and_what_cannot_be_read() -> None:
    host = Host()
    host.function("0000:01:00.0", "10de:2330", "030200", group=1)
    host.function("0000:02:00.0", "10de:22a3", "068000", group=2)
    host.function("0000:03:00.0", "ffff:ffff", "ffffff", is_dead=True)
    picture = drawn(host)
    kinds = {
        f.address: f.kind
        for f in every(picture)
        if isinstance(f, FunctionPicture)
    }
    assert kinds["0000:02:00.0"] == "NVSwitch"
    assert kinds["0000:03:00.0"] == "other"
    (note,) = picture.notes
    assert note.startswith("NVLink fabric: ")
    assert note in document.text(picture, "svg")
