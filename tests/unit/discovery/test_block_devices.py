"""Disks that are found by another name, and tables that are closed."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery import host_dependencies, recorded_tree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees import installed, software
from tests.trees.host import Host
from tests.trees.host_uses import CLOSED, closed, unknown, used

WWID = "3600508b400105e210000900000490000"
SATA, NVME, OTHER = "0000:00:1f.2", "0000:01:00.0", "0000:02:00.0"


@pytest.fixture
def host() -> Host:
    """A host with sda on SATA and two NVMe disks, that mounts nothing."""
    host = Host()
    path = host.function(SATA, "8086:1d02", "010601")
    software.disk(host, f"{path}/ata1/host0/block", "sda", "8:0")
    for number, address in enumerate((NVME, OTHER)):
        path = host.function(address, "144d:a80a", "010802")
        name = f"nvme{number}"
        software.disk(
            host, f"{path}/nvme/{name}", f"{name}n1", f"259:{number}"
        )
    software.swaps(host)
    software.routes(host, [])
    software.mounts(host, {})
    return host


def mount(host: Host, number: str, kind: str, name: str, options: str) -> None:
    row = f"20 1 {number} / / rw - {kind} {name} {options}\n"
    host.file("proc/1/mountinfo", row)


@pytest.mark.parametrize("option", ["logdev", "rtdev"])
def test_an_xfs_on_two_disks(host: Host, option: str) -> None:
    """xfs_info of a log on an SSD: mount -o logdev=/dev/nvme0n1."""
    options = f"rw,attr2,{option}=/dev/nvme0n1,noquota"
    mount(host, "8:0", "xfs", "/dev/sda", options)
    assert used(host) == {
        SATA: {"mount / (/dev/sda): sda"},
        NVME: {
            f"mount / (/dev/sda), {option}=/dev/nvme0n1: nvme0 nvme0n1",
        },
    }


def test_a_log_by_a_name_that_udev_made(host: Host) -> None:
    name = "/dev/disk/by-id/nvme-one"
    mount(host, "8:0", "xfs", "/dev/sda", f"rw,logdev={name}")
    assert "sys/class/block/disk!by-id!nvme-one" in unknown(host)
    host.link("dev/disk/by-id/nvme-one", "../../nvme0n1")
    assert set(used(host)) == {SATA, NVME}


def test_a_disk_in_a_folder_of_dev(host: Host) -> None:
    """The kernel writes ! in place of the /, as of a Smart Array's."""
    path = host.function("0000:05:00.0", "0e11:0046", "010400")
    software.disk(host, f"{path}/cciss0/block", "cciss!c0d0", "104:0")
    software.swaps(host, "/dev/cciss/c0d0")
    assert set(used(host)) == {"0000:05:00.0"}


def test_an_external_journal(host: Host) -> None:
    """mkfs.ext4 -J device=/dev/nvme0n1: no option of the mount names it."""
    mount(host, "8:0", "ext4", "/dev/sda", "rw")
    host.folder("proc/fs/jbd2/nvme1n1-8")
    host.folder("proc/fs/jbd2/nvme0n1")
    needed = used(host)
    assert set(needed) == {SATA, NVME}
    assert needed[NVME] == {
        "journal of a file system (nvme0n1): nvme0 nvme0n1"
    }


BLOCK = "sys/devices/virtual/block"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("loop0", f"{BLOCK}/loop0/loop/backing_file"),
        ("zram0", f"{BLOCK}/zram0/backing_dev"),
        ("md0", f"{BLOCK}/md0/slaves"),
        ("sda", "proc/fs/jbd2"),
        ("drbd0", "sys/class/block"),
    ],
)
def test_what_is_closed_is_unknown(host: Host, name: str, path: str) -> None:
    if name != "sda":
        host.device(f"block/{name}", "block", {"dev": "240:0\n"})
        mount(host, "240:0", "ext4", f"/dev/{name}", "rw")
    assert CLOSED in closed(host, path) or path in closed(host, path)


@pytest.mark.parametrize(
    "path",
    [
        "sys/fs/btrfs",
        "sys/fs/btrfs/0a0b/devices",
        "sys/class/block/sda",
    ],
)
def test_closed_tables_of_btrfs(host: Host, path: str) -> None:
    for name in ("sda", "nvme0n1"):
        host.link(
            f"sys/fs/btrfs/0a0b/devices/{name}", f"../../../../class/{name}"
        )
    mount(host, "0:25", "btrfs", "/dev/sda", "rw")
    assert CLOSED in closed(host, path)


@pytest.mark.parametrize("path", ["run/udev/data/b8:0", "sys/class/block"])
def test_closed_tables_of_zfs(host: Host, path: str) -> None:
    label = "I:1\nE:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=rpool\n"
    host.file("run/udev/data/b259:0", label)
    mount(host, "0:40", "zfs", "rpool/ROOT", "rw")
    assert set(used(host)) == {NVME}
    assert CLOSED in closed(host, path)


def test_a_closed_name_of_a_mapped_device(host: Host) -> None:
    software.mapped(host, 0, "vg-swap", ["/devices/virtual/block/none"])
    software.swaps(host, "/dev/mapper/vg-swap")
    assert CLOSED in closed(host, f"{BLOCK}/dm-0/dm/name")


def test_what_drbd_lies_on_may_be_any_disk(host: Host) -> None:
    """But none that lies on others, such as a loop device without a file."""
    for name, number in (("drbd0", "147:0"), ("loop7", "7:7")):
        host.device(f"block/{name}", "block", {"dev": f"{number}\n"})
    mount(host, "147:0", "ext4", "/dev/drbd0", "rw")
    assert set(used(host)) == {SATA, NVME, OTHER}


def test_a_zfs_pool_by_a_recordings_properties(host: Host) -> None:
    """umockdev-record writes udev's properties as the device's."""
    path = host.function("0000:07:00.0", "144d:a80a", "010802")
    labels = {"ID_FS_TYPE": "zfs_member", "ID_FS_LABEL": "tank"}
    host.device(
        f"{path}/nvme/nvme7/nvme7n1",
        "block",
        {"dev": "259:7\n"},
        properties=labels,
    )
    mount(host, "0:40", "zfs", "tank/data", "rw")
    assert set(used(host)) == {"0000:07:00.0"}
    mount(host, "0:40", "zfs", "zfs_member/data", "rw")
    assert "zfs_member" in unknown(host)


def test_every_mount_and_swap_of_a_server(host: Host) -> None:
    """LVM on multipath below /, the EFI partition, and swap on LVM."""
    paths = []
    for number, name in enumerate(("sdx", "sdy")):
        adapter = host.function(f"0000:5{number}:00.0", "1077:2261", "0c0400")
        bus = f"{adapter}/host{number}/rport-{number}:0-0/block"
        paths.append(software.disk(host, bus, name, f"65:{16 * number}"))
    multipath = software.mapped(host, 1, WWID, paths)
    software.mapped(host, 2, "vg-root", [multipath])
    sata = "/devices/pci0000:00/0000:00:1f.2/ata1/host0/block/sda"
    software.mapped(host, 3, "vg-swap", [sata])
    software.swaps(host, "/dev/mapper/vg-swap")
    software.mounts(
        host,
        {
            "/": ("253:2", "/dev/mapper/vg-root", "ext4"),
            "/boot/efi": ("259:1", "/dev/nvme1n1", "vfat"),
            "/data": ("0:25", f"/dev/mapper/{WWID}", "btrfs"),
        },
    )
    tree = host.tree()
    again = recorded_tree.parse(installed.recorded(tree), "again")
    for read in (tree, again):
        uses = host_dependencies.uses(read)
        assert not isinstance(uses, Unknown)
        needed = {str(use.address): use.what.split(" (")[0] for use in uses}
        assert needed == {
            "0000:50:00.0": "mount /data",
            "0000:51:00.0": "mount /data",
            OTHER: "mount /boot/efi",
            SATA: "swap",
        }
        assert ("sdx", use_of(read), "vg-root") in {use.via for use in uses}


def use_of(tree: RecordedTree) -> str:
    """What multipath calls the disk: a stand-in in a recording."""
    name = tree.read("sys/class/block/dm-1/dm/name")
    assert isinstance(name, bytes)
    return name.decode().strip()
