"""Lines of mountinfo and of swaps."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import mountinfo
from gpu_passthrough_plugin.formats.mountinfo import Mount


def test_a_line_has_its_fields_by_position() -> None:
    line = (
        "36 35 98:0 /m /mnt\\0402 rw master:1 shared:2 - ext3 /dev/r\\134t rw"
    )
    assert mountinfo.parse(f"{line}\n\n") == (
        Mount("98:0", "/mnt 2", "ext3", "/dev/r\\t"),
    )


def test_options_that_name_further_devices() -> None:
    """As XFS shows them, with a comma in the first name."""
    (mount,) = mountinfo.parse(
        "36 35 8:1 / /srv rw - xfs /dev/sda1 rw,attr2,logdev=/dev/a\\054b,"
        "rtdev=/dev/sdc1,noquota\n"
    )
    assert mount.devices == ("logdev=/dev/a\\054b", "rtdev=/dev/sdc1")


@pytest.mark.parametrize(
    ("number", "kind", "is_disk", "is_stacked"),
    [
        ("8:1", "ext4", True, False),
        ("0:22", "tmpfs", False, False),
        ("0:30", "btrfs", True, False),
        ("0:31", "zfs", True, False),
        ("0:40", "overlay", False, True),
        ("0:41", "nfs4", False, False),
    ],
)
def test_what_is_under_a_mount(
    number: str, kind: str, is_disk: bool, is_stacked: bool
) -> None:
    mount = Mount(number, "/", kind, "x")
    assert mount.is_on_block_device == is_disk
    assert mount.is_stacked == is_stacked


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "36 35 98:0 / /mnt rw",
        "36 35 98:0 / - ext3 x rw",
        "1 2 3 4 5 6 - a",
    ],
)
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of mountinfo"):
        mountinfo.parse(line)


def test_partitions_are_swapped_to_and_files_are_not() -> None:
    table = (
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/dm-1                               partition\t8388604\t0\t-2\n"
        "/swap\\040file                           file\t\t1048572\t0\t-3\n"
    )
    assert mountinfo.swap_partitions(table) == ("/dev/dm-1",)
    assert mountinfo.swap_partitions("") == ()
