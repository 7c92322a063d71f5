"""Whatever is mounted is followed down to the functions that it is on."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery import host_dependencies
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.model.reading import Unknown, Why, known
from tests.trees import software
from tests.trees.host import Host
from tests.trees.hosts import HOSTS

SATA, NVME = "0000:00:1f.2", "0000:01:00.0"


class Storage:
    """A SATA disk with two partitions, an NVMe one, and no routes."""

    def __init__(self) -> None:
        self.host = Host()
        sata = self.host.function(SATA, "8086:1d02", "010601")
        nvme = self.host.function(NVME, "144d:a80a", "010802")
        bus = f"{sata}/ata1/host0/target0:0:0/0:0:0:0/block"
        self.sda = software.disk(self.host, bus, "sda", "8:0")
        self.sda1 = software.disk(self.host, self.sda, "sda1", "8:1")
        self.sda2 = software.disk(self.host, self.sda, "sda2", "8:2")
        self.nvme = software.disk(
            self.host, f"{nvme}/nvme/nvme0", "nvme0n1", "259:0"
        )
        self.controller = f"{nvme}/nvme/nvme0"
        software.swaps(self.host)
        software.routes(self.host, [])

    def mounted(
        self, source: str, number: str, kind: str = "ext4"
    ) -> set[str] | Unknown:
        """Addresses in use when one thing is mounted on /."""
        software.mounts(self.host, {"/": (number, source, kind)})
        return self.used()

    def used(self) -> set[str] | Unknown:
        found = host_dependencies.uses(self.host.tree())
        if isinstance(found, Unknown):
            return found
        return {str(use.address) for use in found}


@pytest.fixture
def storage() -> Storage:
    return Storage()


def test_a_partition(storage: Storage) -> None:
    assert storage.mounted("/dev/sda1", "8:1") == {SATA}


def test_lvm_over_two_disks(storage: Storage) -> None:
    software.mapped(storage.host, 0, "vg-root", [storage.sda2, storage.nvme])
    assert storage.mounted("/dev/mapper/vg-root", "253:0") == {SATA, NVME}


def test_the_way_from_the_function_to_what_is_mounted(
    storage: Storage,
) -> None:
    software.mapped(storage.host, 0, "vg-root", [storage.sda2, storage.nvme])
    storage.mounted("/dev/mapper/vg-root", "253:0")
    found = host_dependencies.uses(storage.host.tree())
    assert not isinstance(found, Unknown)
    assert {str(use.address): use.via for use in found} == {
        SATA: ("sda", "sda2", "vg-root"),
        NVME: ("nvme0", "nvme0n1", "vg-root"),
    }


def test_crypt_over_raid(storage: Storage) -> None:
    raid = storage.host.device(
        "block/md0",
        "block",
        {"dev": "9:0\n"},
        {"slaves/sda1": f"/sys{storage.sda1}"},
    )
    software.mapped(storage.host, 3, "crypt", [raid])
    assert storage.mounted("/dev/mapper/crypt", "253:3") == {SATA}


def test_bcache(storage: Storage) -> None:
    storage.host.device(
        "block/bcache0",
        "block",
        {"dev": "252:0\n"},
        {
            "slaves/sda": f"/sys{storage.sda}",
            "slaves/nvme0n1": f"/sys{storage.nvme}",
        },
    )
    assert storage.mounted("/dev/bcache0", "252:0") == {SATA, NVME}


def test_nvme_with_several_paths(storage: Storage) -> None:
    subsystem = storage.host.device(
        "nvme-subsystem/nvme-subsys0",
        "nvme-subsystem",
        {},
        {"nvme0": f"/sys{storage.controller}"},
    )
    storage.host.device(storage.controller, "nvme")
    software.disk(storage.host, subsystem, "nvme0n2", "259:7")
    assert storage.mounted("/dev/nvme0n2", "259:7") == {NVME}


def test_btrfs_over_two_disks(storage: Storage) -> None:
    for path in (storage.sda1, storage.nvme):
        name = path.rpartition("/")[2]
        storage.host.link(
            f"sys/fs/btrfs/0a0b/devices/{name}", f"../../../..{path}"
        )
    storage.host.folder("sys/fs/btrfs/features")
    assert storage.mounted("/dev/sda1", "0:25", "btrfs") == {SATA, NVME}


def test_btrfs_on_a_mapped_disk(storage: Storage) -> None:
    software.mapped(storage.host, 1, "cr", [storage.sda2])
    assert storage.mounted("/dev/mapper/cr", "0:25", "btrfs") == {SATA}


def test_bcachefs_names_its_disks(storage: Storage) -> None:
    source = "/dev/sda1:/dev/nvme0n1"
    assert storage.mounted(source, "0:30", "bcachefs") == {SATA, NVME}


def test_a_zfs_pool_by_udevs_labels(storage: Storage) -> None:
    label = "I:1\nE:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=rpool\n"
    storage.host.file("run/udev/data/b259:0", label)
    storage.host.file("run/udev/data/b8:0", "E:ID_FS_TYPE=ext4\n")
    assert storage.mounted("rpool/ROOT/debian", "0:40", "zfs") == {NVME}


def test_a_zfs_pool_nobody_knows_is_unknown(storage: Storage) -> None:
    found = storage.mounted("rpool/ROOT/debian", "0:40", "zfs")
    assert found == Unknown(
        Why.MISSING,
        "mount / (rpool/ROOT/debian): missing"
        " (udev names no disk of the ZFS pool rpool)",
    )


def test_swap_on_a_zfs_volume(storage: Storage) -> None:
    label = "I:1\nE:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=rpool\n"
    storage.host.file("run/udev/data/b259:0", label)
    software.mounts(storage.host, {})
    software.disk(storage.host, "block", "zd0", "230:0")
    software.swaps(storage.host, "/dev/zd0")
    assert storage.used() == {NVME}
    storage.host.file("run/udev/data/b259:0", "I:1\n")
    assert isinstance(storage.used(), Unknown)


def test_a_partition_of_a_virtual_disk(storage: Storage) -> None:
    storage.host.device(
        "block/md0",
        "block",
        {"dev": "9:0\n"},
        {"slaves/sda1": f"/sys{storage.sda1}"},
    )
    software.disk(storage.host, "block/md0", "md0p1", "259:9")
    assert storage.mounted("/dev/md0p1", "259:9") == {SATA}


@pytest.mark.parametrize(
    ("name", "file", "text", "addresses"),
    [
        ("loop0", "loop/backing_file", "/srv/disk.img", set()),
        ("loop0", "loop/backing_file", "/dev/sda1", {SATA}),
        ("loop0", "", "", None),
        ("zram0", "", "", set()),
        ("zram0", "backing_dev", "none", set()),
        ("zram0", "backing_dev", "/dev/nvme0n1", {NVME}),
        ("nbd0", "", "", set()),
        ("ram0", "", "", set()),
        ("drbd0", "", "", {SATA, NVME}),
        ("ublkb0", "", "", None),
        ("dm-7", "", "", None),
    ],
)
def test_a_virtual_disk(
    storage: Storage,
    name: str,
    file: str,
    text: str,
    addresses: set[str] | None,
) -> None:
    attributes = {"dev": "240:0\n"} | ({file: f"{text}\n"} if file else {})
    storage.host.device(f"block/{name}", "block", attributes)
    used = storage.mounted(f"/dev/{name}", "240:0")
    if addresses is None:
        assert isinstance(used, Unknown)
        assert name in used.detail
    else:
        assert used == addresses


def test_an_nvme_disk_without_controllers_is_unknown(
    storage: Storage,
) -> None:
    subsystem = storage.host.device(
        "nvme-subsystem/nvme-subsys0", "nvme-subsystem"
    )
    software.disk(storage.host, subsystem, "nvme0n2", "259:7")
    assert isinstance(storage.mounted("/dev/nvme0n2", "259:7"), Unknown)


def test_disks_in_endless_stacks_are_unknown(storage: Storage) -> None:
    path = storage.sda1
    for number in range(80):
        path = software.mapped(storage.host, number, f"m{number}", [path])
    assert storage.mounted("/dev/mapper/m9", "253:9") == {SATA}
    used = storage.mounted("/dev/mapper/m79", "253:79")
    assert isinstance(used, Unknown)
    assert "too many" in used.detail


def test_swap_on_a_partition(storage: Storage) -> None:
    software.mounts(storage.host, {})
    software.swaps(storage.host, "/dev/nvme0n1")
    assert storage.used() == {NVME}


def test_a_disk_behind_vmd_needs_both_functions() -> None:
    found = host_dependencies.uses(HOSTS["wide-domain"]().tree())
    assert not isinstance(found, Unknown)
    srv = {str(u.address) for u in found if u.what.startswith("mount /srv")}
    assert srv == {"0000:00:0e.0", "10000:e1:00.0"}


def test_a_virtio_disk_is_on_its_function(storage: Storage) -> None:
    path = storage.host.function("0000:00:05.0", "1af4:1042", "010000")
    software.disk(storage.host, f"{path}/virtio1/block", "vda", "254:0")
    assert storage.mounted("/dev/vda", "254:0") == {"0000:00:05.0"}


def test_a_disk_that_is_not_on_pci_needs_no_function(
    storage: Storage,
) -> None:
    software.disk(storage.host, "/devices/platform/vmbus/block", "sdz", "65:0")
    assert storage.mounted("/dev/sdz", "65:0") == set()


def test_a_disk_that_was_unplugged_needs_no_function(
    storage: Storage,
) -> None:
    assert storage.mounted("/dev/sdx1", "65:1") == set()


def test_file_systems_without_disks_are_passed_over(storage: Storage) -> None:
    assert storage.mounted("tmpfs", "0:22", "tmpfs") == set()
    assert storage.mounted("server:/export", "0:50", "nfs4") == set()


def test_a_tree_without_block_devices_is_unknown() -> None:
    host = Host()
    software.mounts(host, {"/": ("8:1", "/dev/sda1", "ext4")})
    assert host_dependencies.uses(host.tree()) == Unknown(
        Why.MISSING, "mount / (/dev/sda1): missing"
    )


def test_unreadable_mounts_are_unknown(storage: Storage) -> None:
    tree = storage.host.tree()
    hidden = RecordedTree(
        tree.files,
        tree.links,
        unreadable={"proc/self/mountinfo": "Permission denied"},
    )
    assert host_dependencies.uses(hidden) == Unknown(
        Why.UNREADABLE,
        "proc/self/mountinfo: unreadable (Permission denied)",
    )


def test_a_malformed_mount_is_unknown(storage: Storage) -> None:
    storage.host.file("proc/1/mountinfo", "20 1 8:1 / /\n")
    found = host_dependencies.uses(storage.host.tree())
    assert isinstance(found, Unknown)
    assert found.why is Why.MALFORMED


def test_names_with_blanks_are_shown_as_they_are(storage: Storage) -> None:
    software.mounts(
        storage.host, {r"/my\040disk": ("8:1", "/dev/sda1", "ext4")}
    )
    (use,) = known(host_dependencies.uses(storage.host.tree())) or ()
    assert use.what == "mount /my disk (/dev/sda1)"
    assert str(use.address) == SATA


def test_a_disk_mounted_often_is_one_use(storage: Storage) -> None:
    software.mounts(
        storage.host,
        {
            "/": ("8:1", "/dev/sda1", "ext4"),
            "/var/lib/containers": ("8:1", "/dev/sda1", "ext4"),
        },
    )
    (use,) = known(host_dependencies.uses(storage.host.tree())) or ()
    assert use.what == "mount / (/dev/sda1)"


@pytest.mark.parametrize("kind", ["overlay", "aufs"])
def test_a_containers_mounts_tell_nothing(kind: str) -> None:
    host = Host()
    software.mounts(host, {"/": ("0:50", kind, kind)})
    software.routes(host, ())
    found = host_dependencies.uses(host.tree())
    assert isinstance(found, Unknown)
    assert "a container's" in found.detail


def test_a_containers_root_may_be_mounted_after_others() -> None:
    host = Host()
    host.file(
        "proc/1/mountinfo",
        "20 1 0:2 / /proc rw - proc proc rw\n"
        "21 1 0:50 / / rw - overlay overlay rw\n",
    )
    software.routes(host, ())
    uses = host_dependencies.uses(host.tree())
    assert isinstance(uses, Unknown)
    assert "a container's" in uses.detail


def test_no_mounts_at_all_tell_nothing() -> None:
    host = Host()
    host.file("proc/1/mountinfo", "")
    software.routes(host, ())
    assert isinstance(host_dependencies.uses(host.tree()), Unknown)
