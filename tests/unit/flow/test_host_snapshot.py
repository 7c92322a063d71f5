"""A host is read once, and no more of it than a verb needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.record import RecordingTree
from gpu_passthrough_plugin.flow import boot_state, host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.group import Role
from tests.trees.hosts import HOSTS
from tests.trees.seed import seed
from tests.trees.systems import SYSTEMS
from tests.unit.isolation.values import GPUS


def configs_read(tree: RecordingTree) -> set[str]:
    """Addresses of the functions whose config space was read."""
    return {
        path.split("/")[-2] for path in tree.files if path.endswith("/config")
    }


@pytest.mark.parametrize("scope", Scope)
def test_config_space_is_read_where_the_scope_says(scope: Scope) -> None:
    tree = RecordingTree(HOSTS["wide-domain"]().tree())
    snapshot = host_snapshot.read(tree, GPUS, scope)
    wanted = {
        str(member.address)
        for part in snapshot.parts
        if part.has_primary or scope is Scope.ALL
        for member in part.members
    }
    # Whether the ports above primaries isolate stands there as well.
    above = {
        str(bridge)
        for part in snapshot.parts
        for member in part.members
        if member.role is Role.PRIMARY and member.detail is not None
        for bridge in member.detail.bridges
    }
    assert configs_read(tree) == wanted | above
    assert {
        str(m.address) for m in snapshot.members() if m.detail is not None
    } == wanted


def test_units_are_the_same_at_every_scope() -> None:
    tree = HOSTS["seed"]().tree()
    found = [
        host_snapshot.read(tree, GPUS, scope).units("node-1")
        for scope in Scope
    ]
    assert len(found[0]) == 3
    assert found[0] == found[1] == found[2]


def test_completing_a_snapshot_reads_the_rest() -> None:
    tree = HOSTS["seed"]().tree()
    listing = host_snapshot.read(tree, GPUS)
    whole = host_snapshot.read(tree, GPUS, Scope.ALL)
    assert listing != whole
    watched = RecordingTree(tree)
    assert host_snapshot.completed(watched, listing) == whole
    assert len(configs_read(watched)) == sum(
        len(part.members) for part in listing.parts if not part.has_primary
    )


def test_groups_of_a_host_whose_iommu_is_off() -> None:
    tree = HOSTS["firmware-off"]().tree()
    snapshot = host_snapshot.read(tree, GPUS, Scope.ALL)
    assert not any(g.verdict.is_assignable for g in snapshot.groups())
    assert any(g.verdict.is_assignable for g in snapshot.predicted_groups())


def test_how_a_host_boots() -> None:
    tree = SYSTEMS["debian12"]().tree()
    state = boot_state.read(tree, host_snapshot.read(tree, GPUS).facts)
    assert "/etc/default/grub" in state.installation.files
    assert state.has_vfio_pci is True


GPU, OTHER = address.parse("06:00.0"), address.parse("82:00.1")


def test_the_groups_of_some_functions_are_read_alone(tmp_path: Path) -> None:
    root = seed().write(tmp_path)
    tree = HostTree(str(root))
    snapshot = host_snapshot.read(tree, GPUS, Scope.ALL)
    expected = tuple(p for p in snapshot.parts if p.number in (18, 38))
    assert [len(part.members) for part in expected] == [2, 2]
    # Nothing of any other is looked at.
    kept = {str(m.address) for part in expected for m in part.members}
    for folder in (root / "sys/bus/pci/devices").iterdir():
        if folder.name not in kept:
            (folder / "uevent").unlink()
            (folder / "config").unlink()
    found = host_snapshot.read_groups(tree, GPUS, [GPU, OTHER, GPU])
    assert found == expected
    assert host_snapshot.read_groups(tree, GPUS, []) == ()


def test_a_recorded_hosts_groups_are_read_as_well() -> None:
    tree = seed().tree()
    (part,) = host_snapshot.read_groups(tree, GPUS, [GPU])
    assert part.number == 18


def test_a_group_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    root = seed().write(tmp_path)
    tree = HostTree(str(root))
    absent = address.parse("77:00.0")
    with pytest.raises(errors.ReadFailed, match="no PCI function 0000:77"):
        host_snapshot.read_groups(tree, GPUS, [GPU, absent])
    (root / "sys/bus/pci/devices/0000:06:00.0/iommu_group").unlink()
    with pytest.raises(errors.ReadFailed, match="IOMMU group of 0000:06"):
        host_snapshot.read_groups(tree, GPUS, [GPU])
