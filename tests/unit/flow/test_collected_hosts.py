"""Hosts of the kinds that other projects collect, described anew here."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis import readiness
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import HostSnapshot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import address, selector
from gpu_passthrough_plugin.model.group import Group
from tests.trees import installed
from tests.trees.host import Host
from tests.trees.hosts import server

POLICY = Policy((selector.parse("class=0302"),))
PHYSICAL = "0000:08:00.0"
VIRTUAL = [
    f"0000:08:{number >> 3:02x}.{number & 7}" for number in range(4, 20)
]
RUNNING = {
    VIRTUAL[0]: "11111111-2222-4333-8444-000000000007",
    VIRTUAL[2]: "11111111-2222-4333-8444-000000000008",
    VIRTUAL[12]: "11111111-2222-4333-8444-000000000009",
}


def vgpu_node(*, has_types: bool = True) -> Host:
    """An A2 with 16 virtual functions, three of which have a vGPU.

    The kind of harvester/pcidevices, tests/snapshots/vgpu-node.umockdev.
    """
    host = server()
    host.function("0000:00:08.0", "8086:2f08", "060400", below="0000:08")
    for number, place in enumerate((PHYSICAL, *VIRTUAL)):
        path = host.function(
            place,
            "10de:25b6",
            "030200",
            under="0000:00:08.0",
            group=90 + number,
            driver="nvidia",
            reset="flr",
            vfs=None if number else (16, 16),
            physical=PHYSICAL if number else None,
            bars=(1 << 18, 1 << 31, 1 << 25),
        )
        if not number:
            continue
        if has_types:
            host.folder(f"sys{path}/mdev_supported_types/nvidia-746")
        if place in RUNNING:
            host.device(f"{path}/{RUNNING[place]}", "mdev")
    return host


def groups(tree: RecordedTree) -> dict[str, Group]:
    """Return the groups with a primary, by its address."""
    snapshot = host_snapshot.read(tree, POLICY)
    return {
        str(member.address): group
        for group in snapshot.groups()
        for member in group.primaries
    }


def rules(tree: RecordedTree) -> dict[str, tuple[str, ...]]:
    return {
        place: tuple(r.rule for r in group.verdict.reasons)
        for place, group in groups(tree).items()
    }


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_host_with_live_vgpus(*, is_recorded: bool) -> None:
    tree = vgpu_node().tree()
    if is_recorded:
        tree = recorded_tree.parse(installed.recorded(tree), "again")
    judged = groups(tree)
    assert rules(tree) == {
        **dict.fromkeys((PHYSICAL, *VIRTUAL), ("in-use",)),
    }
    for place in VIRTUAL:
        (reason,) = judged[place].verdict.reasons
        assert ("running" in reason.text) == (place in RUNNING)
        if place in RUNNING and not is_recorded:
            assert RUNNING[place] in reason.text


def test_a_recording_without_the_types_of_vgpus() -> None:
    """umockdev-record keeps no folder below a folder of a device."""
    assert rules(vgpu_node(has_types=False).tree()) == {
        **dict.fromkeys((PHYSICAL, *VIRTUAL), ("in-use",)),
    }


def test_the_hook_sees_live_vgpus_too() -> None:
    place = address.parse(VIRTUAL[0])
    (part,) = host_snapshot.read_groups(vgpu_node().tree(), POLICY, [place])
    (member,) = part.members
    assert member.detail is not None
    assert member.detail.mediated_devices == (RUNNING[VIRTUAL[0]],)


def test_vgpus_that_cannot_be_listed_may_run_anywhere() -> None:
    tree = vgpu_node(has_types=False).tree()
    path = "sys/bus/mdev/devices"
    links = {k: to for k, to in tree.links.items() if not k.startswith(path)}
    closed = RecordedTree(
        tree.files, links, tree.folders, {path: "Permission denied"}
    )
    for place in (PHYSICAL, *VIRTUAL):
        reasons = groups(closed)[place].verdict.reasons
        (reason,) = (r for r in reasons if r.rule == "in-use")
        assert "unknown" in reason.text and path in reason.text


def test_a_physical_function_that_makes_mediated_devices_is_free() -> None:
    """A graphics processor of Intel's with GVT-g, or a T4."""
    host = server()
    path = host.function(
        "0000:00:08.0", "10de:1eb8", "030200", group=90, reset="flr"
    )
    host.folder(f"sys{path}/mdev_supported_types/nvidia-222")
    assert rules(host.tree()) == {"0000:00:08.0": ()}
    host.device(f"{path}/{RUNNING[VIRTUAL[0]]}", "mdev")
    assert rules(host.tree()) == {"0000:00:08.0": ("in-use",)}


# Two GPUs below each PCIe switch, one such switch below each root port.
GPU_BUSES = (("07", "0f"), ("47", "4e"), ("87", "90"), ("b7", "bd"))
NVSWITCHES = [f"0000:{bus:02x}:00.0" for bus in range(0xC4, 0xCA)]


def dgx_a100() -> Host:
    """Eight A100 SXM4 in pairs below switches, and six NVSwitches."""
    host = server(amd=True)
    group = 100
    for pair in GPU_BUSES:
        root = f"0000:{int(pair[0], 16) - 6:02x}:01.1"
        upstream = f"0000:{int(pair[0], 16) - 4:02x}:00.0"
        above: str | None = None
        for place, ids in ((root, "1022:1483"), (upstream, "1000:c010")):
            host.function(
                place, ids, "060400", under=above, group=group, below="x"
            )
            above, group = place, group + 1
        for number, bus in enumerate(pair):
            downstream = f"{upstream[:5]}{int(upstream[5:7], 16) + 1:02x}"
            place = f"{downstream}:{number:02x}.0"
            host.function(
                place, "1000:c010", "060400", under=above, group=group,
                below=f"0000:{bus}",
            )  # fmt: skip
            host.function(
                f"0000:{bus}:00.0", "10de:20b0", "030200", under=place,
                group=group + 1, driver="nvidia", reset="flr bus",
                bars=(1 << 24, 1 << 36, 1 << 25),
            )  # fmt: skip
            group += 2
    host.function(
        "0000:c0:01.1", "1022:1483", "060400", group=group, below="0000:c1"
    )
    for number, place in enumerate(NVSWITCHES, group + 1):
        host.function(
            place, "10de:1af1", "068000", under="0000:c0:01.1",
            group=number, driver="nvidia-nvswitch", bars=(1 << 25,),
        )  # fmt: skip
    return host


def snapshot() -> HostSnapshot:
    return host_snapshot.read(
        dgx_a100().tree(), POLICY, host_snapshot.Scope.ALL
    )


def test_a_dgx_a100_offers_each_gpu() -> None:
    gpus = [f"0000:{bus}:00.0" for pair in GPU_BUSES for bus in pair]
    judged = groups(dgx_a100().tree())
    assert sorted(judged) == sorted(gpus)
    for place in gpus:
        group = judged[place]
        assert group.verdict.is_assignable, group.verdict.reasons
        assert any(
            NVSWITCHES[0] in note and "NVSwitch" in note
            for note in group.verdict.notes
        )
    switches = {
        str(unit.key.address): str(unit.switch)
        for unit in snapshot().units("h")
    }
    assert len(set(switches.values())) == 4
    for one, other in GPU_BUSES:
        pair = switches[f"0000:{one}:00.0"], switches[f"0000:{other}:00.0"]
        assert pair[0] == pair[1]


def test_a_dgx_a100_names_its_fabric() -> None:
    read = snapshot()
    findings = readiness.findings(read.facts, read.groups())
    (finding,) = (f for f in findings if f.check == "fabric")
    for place in (*NVSWITCHES, "0000:07:00.0", "0000:bd:00.0"):
        assert place in finding.detail
    assert "6 NVSwitches" in finding.detail and "8 GPUs" in finding.detail
