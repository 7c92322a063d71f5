"""IOMMU groups as the hook reads them, held against discovery."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.tree import HostTree
from gpu_passthrough_plugin.host.hook import groups, state
from gpu_passthrough_plugin.model.function import Header
from tests.trees.hosts import HOSTS

GPU, AUDIO = "0000:06:00.0", "0000:06:00.1"


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_every_group_is_what_discovery_reads(
    name: str, tmp_path: Path
) -> None:
    root = HOSTS[name]().write(tmp_path)
    tree = HostTree(str(root))
    functions = [
        f for f in discovery.functions(tree) if f.iommu_group is not None
    ]
    found = groups.groups(str(root), [str(f.address) for f in functions])
    assert [g.number for g in found] == sorted(
        {f.iommu_group for f in functions if isinstance(f.iommu_group, int)}
    )
    members = {m.address: m for group in found for m in group.members}
    assert set(members) == {str(f.address) for f in functions}
    for function in functions:
        member = members[str(function.address)]
        detail = discovery.detail(tree, function)
        assert (
            member.ids == f"{function.vendor_id:04x}:{function.product_id:04x}"
        )
        assert member.class_code == f"{function.class_code:06x}"
        assert member.driver == function.driver
        assert member.is_dead == (detail.header is Header.DEAD)
        assert member.is_bridge == (detail.header is Header.BRIDGE)


def test_only_the_groups_that_are_asked_for(tmp_path: Path) -> None:
    root = HOSTS["seed"]().write(tmp_path)
    (found,) = groups.groups(str(root), [GPU, AUDIO])
    assert (found.number, [m.address for m in found.members]) == (
        18,
        [GPU, AUDIO],
    )
    assert found.endpoints == found.members
    assert groups.groups(str(root), []) == ()


def test_a_bridge_is_no_endpoint(tmp_path: Path) -> None:
    root = HOSTS["shared-group"]().write(tmp_path)
    (found,) = groups.groups(str(root), ["0000:05:01.0"])
    assert len(found.members) == 5
    assert "0000:04:00.0" not in {m.address for m in found.endpoints}


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    root = HOSTS["seed"]().write(tmp_path)
    devices = root / "sys/bus/pci/devices"
    with pytest.raises(errors.ReadFailed, match="no function 0000:99:00"):
        groups.groups(str(root), ["0000:99:00.0"])
    ungrouped = HOSTS["firmware-off"]().write(tmp_path / "off")
    with pytest.raises(errors.ReadFailed, match="is in no IOMMU group"):
        groups.groups(str(ungrouped), ["0000:04:00.0"])
    for name, contents in (
        ("config", b"\0" * 14),
        ("uevent", b"PCI_CLASS=30000\n"),
        ("uevent", b"PCI_CLASS=none\nPCI_ID=10DE:1430\n"),
    ):
        path = devices / AUDIO / name
        kept = path.read_bytes()
        path.write_bytes(contents)
        with pytest.raises(errors.ReadFailed, match=name):
            groups.groups(str(root), [GPU])
        path.unlink()
        with pytest.raises(errors.ReadFailed, match=name):
            groups.groups(str(root), [GPU])
        path.write_bytes(kept)
    (devices / GPU / "iommu_group").unlink()
    (devices / GPU / "iommu_group").symlink_to("../nowhere")
    with pytest.raises(errors.ReadFailed, match="iommu_group"):
        groups.groups(str(root), [GPU])


def test_a_stamp_changes_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    assert state.stamp(str(path)) is None
    path.write_text("a")
    first = state.stamp(str(path))
    assert first == state.stamp(str(path))
    path.write_text("ab")
    assert state.stamp(str(path)) not in (None, first)
    beside = tmp_path / "b.conf"
    beside.write_text("cd")
    os.utime(beside, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    second = state.stamp(str(path))
    beside.replace(path)
    assert state.stamp(str(path)) != second


def test_what_is_in_the_journal(tmp_path: Path) -> None:
    uuid = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
    assert not state.is_in_journal(str(tmp_path), uuid)
    (tmp_path / "instances").mkdir()
    assert not state.is_in_journal(str(tmp_path), uuid)
    (tmp_path / "instances" / f"{uuid}.json").write_text("{}")
    assert state.is_in_journal(str(tmp_path), uuid)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        state.is_in_journal(str(tmp_path / "file"), uuid)
