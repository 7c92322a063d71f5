"""A host is read once, and no more of it than a verb needs."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery.record import RecordingTree
from gpu_passthrough_plugin.flow import boot_state, host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from tests.trees.hosts import HOSTS
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
    assert configs_read(tree) == wanted
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
