"""Recordings replay the hosts that they were taken of."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.facts import facts, group_attributes
from gpu_passthrough_plugin.discovery.functions import (
    detail,
    functions,
    mediated_devices,
)
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.formats import umockdev
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.group import ReservedRegion
from gpu_passthrough_plugin.model.reading import Unknown, known
from tests.trees import hosts, installed, recordings
from tests.trees.hosts import HOSTS

RECORDED = sorted(path.stem for path in recordings.FOLDER.glob("*.umockdev"))


def discovered(tree: Tree) -> object:
    found = functions(tree)
    return found, [detail(tree, one) for one in found], facts(tree)


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_the_kept_recordings_are_current(name: str) -> None:
    """Else: python -m tests.trees"""
    wanted = umockdev.printed(HOSTS[name]().devices())
    assert recordings.path(name).read_bytes() == wanted


@pytest.mark.parametrize("name", RECORDED)
def test_a_kept_recording_replays(name: str) -> None:
    tree = recorded_tree.load(str(recordings.path(name)))
    found = functions(tree)
    assert len(found) > 5
    assert not isinstance(facts(tree).uses, Unknown)


@pytest.mark.parametrize("name", [*RECORDED, "seed"])
def test_a_recording_of_a_host_says_what_the_host_says(name: str) -> None:
    tree = recorded_tree.load(str(recordings.path(name)))
    text = installed.recorded(tree)
    again = recorded_tree.parse(text, "again")
    assert discovered(again) == discovered(tree)
    assert installed.recorded(again) == text


def test_a_recording_of_a_tree_on_disk(tmp_path: Path) -> None:
    host = HOSTS["wide-domain"]()
    disk = HostTree(str(host.write(tmp_path)))
    text = installed.recorded(disk)
    assert discovered(recorded_tree.parse(text, "again")) == discovered(disk)
    assert text == installed.recorded(host.tree())


def test_a_recording_holds_nothing_that_is_not_read() -> None:
    host = HOSTS["seed"]()
    private: dict[str, str | bytes] = {
        "serial_number": "s3cret\n",
        "vpd": b"\x82s3cret",
        "label": "s3cret\n",
    }
    path = host.function("0000:08:00.0", "15b3:1017", "020000", more=private)
    host.device(f"{path}/net/eth9", "net", {"address": "02:00:00:s3:cr:et\n"})
    host.file("etc/shadow", "s3cret\n")
    text = installed.recorded(host.tree())
    assert b"0000:08:00.0" in text
    assert b"s3cret" not in text
    assert b"cr:et" not in text


def test_a_recording_trims_files_to_their_lines() -> None:
    host = HOSTS["seed"]()
    host.file(
        "proc/1/net/ipv6_route",
        f"{'0' * 32} 00 {'0' * 32} 00 fe80{'1' * 28} 1 1 1 00000003 eno1\n"
        f"2001{'1' * 28} 80 {'0' * 32} 00 {'0' * 32} 1 1 1 00000001 eno1\n",
    )
    host.file(
        "proc/1/mountinfo",
        "1 0 8:1 / /boot rw,uid=s3cret shared:1 - xfs /dev/sda1 rw,s3cret\n"
        "2 0 0:5 / /net/s3cret rw - nfs4 s3cret:/home rw\n",
    )
    host.file(
        f"lib/modules/{host.release}/modules.alias",
        "alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\n"
        "alias usb:v0000p0000* s3cret\n",
    )
    text = installed.recorded(host.tree())
    assert b"nouveau" in text
    assert b"/boot" in text
    assert b"1111111" not in text
    assert b"s3cret" not in text
    again = recorded_tree.parse(text, "again")
    assert discovered(again) == discovered(host.tree())


def test_a_plain_recording_lacks_what_umockdev_does_not_record() -> None:
    devices = HOSTS["seed"]().devices()[1:]
    tree = recorded_tree.parse(umockdev.printed(devices), "plain")
    assert functions(tree) == functions(HOSTS["seed"]().tree())
    found = facts(tree)
    for value in (found.cpu_vendor, found.kernel_arguments, found.uses):
        assert isinstance(value, Unknown)
    assert found.iommus == ("dmar0", "dmar1")
    assert found.sockets == {0: 0, 1: 1}


def test_the_kernels_groups_are_listed_as_well() -> None:
    tree = recorded_tree.load(recorded_tree.SEED)
    assert tree.names("sys/kernel/iommu_groups/38/devices") == (
        "0000:82:00.0",
        "0000:82:00.1",
    )
    path = "sys/kernel/iommu_groups/38/devices/0000:82:00.0/vendor"
    assert tree.read(path) == b"0x10de\n"


def test_a_recording_cut_in_half_is_refused() -> None:
    data = recordings.path("seed").read_bytes()
    for part in (data[: len(data) // 2], b"\n".join(data.split(b"\n")[:200])):
        with pytest.raises(errors.Faults, match=r"^half, line "):
            recorded_tree.parse(part, "half")


def test_a_recording_cut_between_devices_is_refused() -> None:
    data = recordings.path("seed").read_bytes()
    paragraphs = data.split(b"\n\n")
    part = b"\n\n".join(paragraphs[:9]) + b"\n\n"
    with pytest.raises(errors.Faults, match=r"^half has 8 devices.* 39"):
        recorded_tree.parse(part, "half")


def test_a_plain_recording_without_a_parent_is_refused() -> None:
    devices = [
        device
        for device in HOSTS["seed"]().devices()[1:]
        if not device.path.endswith("/0000:00:02.0")
    ]
    with pytest.raises(errors.Faults) as caught:
        recorded_tree.parse(umockdev.printed(devices), "half")
    (fault,) = caught.value.faults
    parent = "/devices/pci0000:00/0000:00:02.0"
    assert f"half has {parent}/pci_bus/0000:06" in fault
    assert f" {parent}:" in fault


def test_a_file_too_large_to_read_back_is_noted(tmp_path: Path) -> None:
    root = HOSTS["seed"]().write(tmp_path)
    path = root / "etc/modprobe.d/a.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("options a b=c\n" * 20_000)
    text = installed.recorded(HostTree(str(root)))
    again = recorded_tree.parse(text, "again")
    found = again.read("etc/modprobe.d/a.conf")
    assert isinstance(found, Unknown)
    assert "280000 bytes" in str(found)


def test_larger_files_than_are_read_are_refused() -> None:
    host = HOSTS["seed"]()
    for size, count in ((200_000, 1), (120_000, 5)):
        for number in range(count):
            host.file(f"etc/modprobe.d/{number}.conf", "a" * size)
        text = umockdev.printed(host.devices())
        with pytest.raises(errors.Faults, match="expected at most"):
            recorded_tree.parse(text, "host")


def test_a_recording_of_ours_is_closed_by_an_empty_line() -> None:
    text = installed.recorded(HOSTS["seed"]().tree())
    with pytest.raises(errors.Faults, match="copy the whole file"):
        recorded_tree.parse(text[:-1], "host")


def test_folders_without_end_are_refused() -> None:
    paths = {f"a{n}/{'b/' * 60}c": b"" for n in range(20_000)}
    with pytest.raises(errors.ReadFailed, match="folders"):
        RecordedTree(paths, {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(errors.ReadFailed, match="none cannot be read"):
        recorded_tree.load(str(path))
    with pytest.raises(errors.ReadFailed, match="cannot be read"):
        recorded_tree.load(str(tmp_path))


def test_a_host_without_pci_cannot_be_recorded(tmp_path: Path) -> None:
    with pytest.raises(errors.ReadFailed, match="has no sys/bus/pci"):
        installed.recorded(HostTree(str(tmp_path)))


def test_a_recording_keeps_what_groups_and_vgpus_are() -> None:
    uuid = "aa618089-8b16-4d01-a136-25a0f3c73123"
    host = hosts.shared_group()
    path = host.function("0000:09:00.0", "10de:2236", "030200", group=40)
    host.device(f"{path}/{uuid}", "mdev")
    folder = "sys/kernel/iommu_groups/40"
    host.file(f"{folder}/name", "vfio-noiommu\n")
    host.file(f"{folder}/reserved_regions", "0x1000 0x1fff direct\n")
    tree = host.tree()
    again = recorded_tree.parse(installed.recorded(tree), "again")
    attributes = group_attributes(tree, 40)
    assert str(attributes.name).strip() == "vfio-noiommu"
    assert attributes.reserved_regions == (
        ReservedRegion(0x1000, 0x1FFF, "direct"),
    )
    assert group_attributes(again, 40) == attributes
    card = address.parse("09:00.0")
    assert mediated_devices(tree) == {card: (uuid,)}
    recorded = known(mediated_devices(again)) or {}
    assert [(a, len(ids)) for a, ids in recorded.items()] == [(card, 1)]
