"""A host is read once, and no more of it than a verb needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import modules, recorded_tree
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.record import RecordingTree
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import boot_state, host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.isolation.partition import Part
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.group import (
    VFIO_NO_IOMMU,
    ReservedRegion,
    Role,
)
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees import hosts, installed, reported, software
from tests.trees.host import Host
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


UUID = "aa618089-8b16-4d01-a136-25a0f3c73123"


def odd_host() -> Host:
    """An Arc with a switch of its own, and a card that is odd in all else.

    Its display and audio are in two groups and reset together, the firmware
    reserves memory for it, and a vGPU of it runs.
    """
    host = hosts.server()
    for number, bus in ((4, "0000:04"), (5, "0000:08")):
        hosts.port(host, f"0000:00:0{number}.0", bus, number, "8086")
    for place, under, below in (
        ("04:00.0", "00:04.0", "05"),
        ("05:01.0", "04:00.0", "06"),
        ("05:04.0", "04:00.0", "07"),
    ):
        host.function(
            f"0000:{place}", "8086:4fa0", "060400", under=f"0000:{under}",
            group=30, driver="pcieport", below=f"0000:{below}",
        )  # fmt: skip
    for place, ids, code, under, group in (
        ("06:00.0", "8086:56a0", "030000", "05:01.0", 31),
        ("07:00.0", "8086:4f90", "040300", "05:04.0", 32),
        ("08:00.0", "10de:2236", "030200", "00:05.0", 40),
        ("08:00.1", "10de:1aef", "040300", "00:05.0", 41),
    ):
        path = host.function(
            f"0000:{place}", ids, code, under=f"0000:{under}", group=group,
            reset="bus",
        )  # fmt: skip
        if place == "08:00.0":
            host.device(f"{path}/{UUID}", "mdev")
    host.file(
        "sys/kernel/iommu_groups/40/reserved_regions",
        "0x00000000bdf6f000 0x00000000bdf7efff direct\n",
    )
    return host


def by_number(tree: Tree, scope: Scope = Scope.LISTING) -> dict[int, Part]:
    parts = host_snapshot.read(tree, GPUS, scope).parts
    return {part.number: part for part in parts if part.number is not None}


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_snapshot_has_what_is_around_a_group(
    scope: Scope, is_recorded: bool
) -> None:
    tree: Tree = odd_host().tree()
    if is_recorded:
        tree = recorded_tree.parse(installed.recorded(tree), "again")
    parts = by_number(tree, scope)
    (display,) = parts[31].members
    assert str(display.card) == "0000:04:00.0"
    elsewhere = [str(f.address) for f in parts[31].card_elsewhere]
    assert elsewhere == ["0000:07:00.0"]
    odd = parts[40]
    assert [str(f.address) for f in odd.reset_with] == ["0000:08:00.1"]
    assert odd.attributes is not None
    assert odd.attributes.reserved_regions == (
        ReservedRegion(0xBDF6F000, 0xBDF7EFFF, "direct"),
    )
    (card,) = odd.members
    assert card.detail is not None
    assert not isinstance(card.detail.mediated_devices, Unknown)
    (running,) = card.detail.mediated_devices
    # A recording has no ids of a host's own.
    assert (running == UUID) is not is_recorded


def test_what_is_around_a_group_decides_on_it() -> None:
    groups = host_snapshot.read(odd_host().tree(), GPUS).groups()
    rules = {
        group.number: {reason.rule for reason in group.verdict.reasons}
        for group in groups
    }
    assert rules[40] == {"reserved-region", "in-use"}
    assert rules[31] == set()
    (notes,) = (g.verdict.notes for g in groups if g.number == 31)
    assert any("0000:07:00.0 is on the same card" in note for note in notes)


def test_a_group_that_vfio_made_is_none(tmp_path: Path) -> None:
    host = odd_host()
    host.file("sys/kernel/iommu_groups/31/name", "vfio-noiommu\n")
    (part,) = host_snapshot.read_groups(
        host.tree(), GPUS, [address.parse("06:00.0")]
    )
    assert part.attributes is not None
    assert str(part.attributes.name).strip() == "vfio-noiommu"
    groups = host_snapshot.read(host.tree(), GPUS).groups()
    (group,) = (g for g in groups if g.number == 31)
    assert [r.rule for r in group.verdict.reasons] == [VFIO_NO_IOMMU]


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


def test_drivers_of_what_vfio_has() -> None:
    """By what the kernel shows, and not by the driver's name."""
    host = reported.host(
        """
        01:00.0 0302 10de:2b85 group=1 driver=nvidia
        01:00.4 0302 10de:2b85 group=2 driver=nvidia
        01:00.5 0302 10de:2b85 group=3 driver=vfio-pci
        01:00.6 0302 10de:2b85 group=4
        """
    )
    host.device("/devices/pci0000:01/0000:01:00.4/vfio-dev/vfio0", "vfio-dev")
    places = [address.parse(f"01:00.{n}") for n in (0, 4, 5, 6, 7)]
    drivers = host_snapshot.vfio_drivers(host.tree(), places)
    assert drivers == {places[1]: "nvidia", places[2]: "vfio-pci"}


@pytest.mark.parametrize(
    ("driver", "is_kept"),
    [("vfio-pci", True), ("mlx5_vfio_pci", True), ("nvidia", False)],
)
@pytest.mark.parametrize("is_read", [True, False])
def test_drivers_that_libvirt_leaves_a_managed_function_on(
    driver: str, is_kept: bool, is_read: bool
) -> None:
    host = reported.host("01:00.0 0200 15b3:101e group=1")
    if is_read:
        software.aliases(
            host,
            {
                "vfio_pci:v000015B3d*": "mlx5_vfio_pci",
                "vfio_pci:v*d*": "vfio_pci",
            },
        )
    assert modules.libvirt_keeps(host.tree(), driver) == is_kept
