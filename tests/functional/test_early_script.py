"""The early script, run for real by the shells that an initramfs has."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gpu_passthrough_plugin.enablement.binding.address import script
from tests.functional.early import SHELLS, Sysfs, target

GPU = target("0000:06:00.0", "10de:1430")
AUDIO = target("0000:06:00.1", "10de:0fba")


@pytest.fixture(params=SHELLS, ids=" ".join)
def shell(request: pytest.FixtureRequest) -> Sequence[str]:
    found: Sequence[str] = request.param
    assert shutil.which(found[0]), f"the tests need {found[0]}"
    return found


@pytest.fixture
def sysfs(tmp_path: Path) -> Iterator[Sysfs]:
    """The card at 06:00, its twin at 07:00, a drive at 01:00."""
    made = Sysfs(tmp_path)
    made.add("0000:01:00.0", "144d:a80a", "nvme")
    for slot in ("06", "07"):
        made.add(f"0000:{slot}:00.0", "10de:1430")
        made.add(f"0000:{slot}:00.1", "10de:0fba")
    yield made
    made.close()


def test_exactly_the_selected_ones_are_taken(
    sysfs: Sysfs, shell: Sequence[str]
) -> None:
    sysfs.run(shell, GPU, AUDIO)
    assert sysfs.override("0000:06:00.0") == "vfio-pci"
    assert sysfs.override("0000:06:00.1") == "vfio-pci"
    assert sysfs.override("0000:07:00.0") == "(null)"
    assert sysfs.override("0000:01:00.0") == "(null)"
    assert sysfs.probed() == ["0000:06:00.0", "0000:06:00.1"]
    assert sysfs.unbound("nvme") == []
    assert sysfs.told() == [
        "modprobe vfio-pci",
        "0000:06:00.0 is on vfio-pci",
        "0000:06:00.1 is on vfio-pci",
    ]


def test_a_driver_that_is_built_in_gives_it_up_first(
    sysfs: Sysfs, shell: Sequence[str]
) -> None:
    usb = target("0000:06:00.2", "10de:1ad8")
    sysfs.add("0000:06:00.2", "10de:1ad8", "xhci_hcd")
    sysfs.add("0000:00:14.0", "8086:a36d", "xhci_hcd")
    sysfs.run(shell, usb)
    assert sysfs.unbound("xhci_hcd") == ["0000:06:00.2"]
    assert sysfs.told() == [
        "0000:06:00.2 was unbound from xhci_hcd",
        "modprobe vfio-pci",
        "0000:06:00.2 is on vfio-pci",
    ]


def test_a_drive_that_moved_there_is_left_alone(
    sysfs: Sysfs, shell: Sequence[str]
) -> None:
    """Addresses move when a card is added or taken out."""
    sysfs.run(shell, target("0000:01:00.0", "10de:1430"))
    assert sysfs.override("0000:01:00.0") == "(null)"
    assert sysfs.unbound("nvme") == sysfs.probed() == []
    assert sysfs.told() == [
        "0000:01:00.0 is 0x144d:0xa80a and was 0x10de:0x1430: left alone;"
        " run 'gpu-passthrough host enable' again"
    ]


def test_the_vendor_alone_is_not_enough(
    sysfs: Sysfs, shell: Sequence[str]
) -> None:
    sysfs.run(shell, target("0000:06:00.0", "10de:1431"))
    sysfs.run(shell, target("0000:06:00.1", "10df:0fba"))
    assert sysfs.override("0000:06:00.0") == "(null)"
    assert sysfs.override("0000:06:00.1") == "(null)"


def test_the_others_are_taken_when_one_is_gone(
    sysfs: Sysfs, shell: Sequence[str]
) -> None:
    sysfs.run(shell, target("0000:05:00.0", "10de:1430"), GPU)
    assert sysfs.override("0000:06:00.0") == "vfio-pci"
    assert sysfs.told() == [
        "0000:05:00.0 is not present",
        "modprobe vfio-pci",
        "0000:06:00.0 is on vfio-pci",
    ]


def test_a_kernel_without_overrides_is_told_of(
    sysfs: Sysfs, shell: Sequence[str]
) -> None:
    sysfs.add("0000:08:00.0", "10de:1430", "nouveau", override=False)
    sysfs.run(shell, target("0000:08:00.0", "10de:1430"))
    assert sysfs.unbound("nouveau") == []
    assert sysfs.told() == [
        "0000:08:00.0 is left alone: this kernel has no driver_override"
    ]


def test_a_vfio_that_is_built_in_need_not_be_loaded(
    sysfs: Sysfs, shell: Sequence[str]
) -> None:
    sysfs.builtin()
    sysfs.run(shell, GPU)
    assert sysfs.probed() == ["0000:06:00.0"]
    assert sysfs.told() == [
        "0000:06:00.0 is not on vfio-pci: the driver did not bind it"
    ]


def test_what_vfio_pci_has_already_it_keeps(
    sysfs: Sysfs, shell: Sequence[str]
) -> None:
    sysfs.add("0000:08:00.0", "10de:1430", "vfio-pci")
    sysfs.run(shell, target("0000:08:00.0", "10de:1430"))
    assert sysfs.unbound("vfio-pci") == []
    assert sysfs.told() == ["0000:08:00.0 is on vfio-pci"]


def test_a_vfio_that_does_not_load_stops_no_boot(
    sysfs: Sysfs, shell: Sequence[str]
) -> None:
    sysfs.no_vfio()
    sysfs.run(shell, GPU)
    assert sysfs.told() == [
        "modprobe vfio-pci",
        "vfio-pci cannot be loaded",
        "0000:06:00.0 is not on vfio-pci: the driver did not bind it",
    ]


def test_without_a_log_it_goes_on(sysfs: Sysfs, shell: Sequence[str]) -> None:
    sysfs.log.mkdir()
    sysfs.run(shell, GPU)
    assert sysfs.probed() == ["0000:06:00.0"]
    sysfs.log.rmdir()


def test_it_is_plain_posix_shell() -> None:
    text = "#!/bin/sh\n" + script([GPU, AUDIO], "/a place/sys", "/a log")
    done = subprocess.run(
        ("shellcheck", "-s", "sh", "-"),
        input=text,
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""
    assert done.returncode == 0
    assert ">>'/a log'" in text


def test_in_the_boot_it_is_the_kernels_own() -> None:
    text = script([GPU])
    assert "gpupt_pci=/sys/bus/pci\n" in text
    assert ">>/dev/kmsg " in text
