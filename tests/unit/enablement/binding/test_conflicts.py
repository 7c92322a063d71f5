"""Which functions vfio-pci would bind without being selected."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.binding import conflicts
from gpu_passthrough_plugin.model.reading import MISSING
from tests.unit.enablement.values import case, installed, target
from tests.unit.isolation.values import audio, function, gpu, port

TWIN = gpu("07:00.0")
OPERATORS = "etc/modprobe.d/vfio.conf"


def test_lists_of_other_files_are_foreign() -> None:
    line = "options vfio-pci ids=10de:1430\n"
    files = {OPERATORS: line, "etc/modprobe.d/gpu-passthrough.conf": line}
    (id_list,) = conflicts.foreign_lists(installed(files))
    assert id_list.path == "/etc/modprobe.d/vfio.conf"
    assert id_list.ids == ("10de:1430",)


@pytest.mark.parametrize(
    "line",
    [
        "options vfio-pci ids=10de:1430,10de:0fba disable_vga=1",
        "options vfio_pci disable_vga=1 ids=10de:1430",
        'options vfio-pci ids="10de:1430"',
        "options vfio-pci ids=10DE:1430",
        "options  vfio-pci \\\n  ids=1002:5046,\\\n10de:1430",
        "options vfio-pci ids=10de:ffffffff",
        "options vfio-pci ids=10de:1430:0:0",
        "options vfio-pci ids=ffffffff:ffffffff:ffffffff:ffffffff:30000:ff00",
    ],
)
def test_a_file_that_captures_a_twin_is_named(line: str) -> None:
    with pytest.raises(errors.Refused) as caught:
        conflicts.refuse_captured(case(TWIN, files={OPERATORS: f"{line}\n"}))
    assert str(caught.value).startswith("/etc/modprobe.d/vfio.conf:")
    assert "0000:07:00.0" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "# options vfio-pci ids=10de:1430",
        "options vfio-pci disable_vga=1",
        "options vfio-pci ids=",
        "options vfio-pci ids=10de",
        "options vfio-pci ids=nonsense:1430",
        "options vfio-pci ids=1:2:3:4:5:6:7",
        "options vfio ids=10de:1430",
        "options vfio-pci ids=10de:1430:1:0",
        "options vfio-pci ids=10de:0fba",
        "options vfio-pci ids=10de:ffffffff:ffffffff:ffffffff:40300:ffff00",
        "blacklist vfio-pci",
    ],
)
def test_a_file_that_captures_nothing_else_is_accepted(line: str) -> None:
    conflicts.refuse_captured(case(TWIN, files={OPERATORS: f"{line}\n"}))


def test_a_bridge_is_never_captured() -> None:
    line = "options vfio-pci ids=8086:0e04\n"
    conflicts.refuse_captured(case(port(), files={OPERATORS: line}))


def test_a_file_that_another_hides_captures_nothing() -> None:
    files = {
        "lib/modprobe.d/vfio.conf": "options vfio-pci ids=10de:1430\n",
        OPERATORS: "# nothing\n",
    }
    conflicts.refuse_captured(case(TWIN, files=files))
    del files[OPERATORS]
    with pytest.raises(errors.Refused, match=r"^/lib/modprobe.d/vfio.conf"):
        conflicts.refuse_captured(case(TWIN, files=files))


def test_a_function_with_unknown_ids_may_be_captured() -> None:
    lost = function("09:00.0", "10de:1430", 0x030000, vendor_id=MISSING)
    line = "options vfio-pci ids=10de:1430\n"
    with pytest.raises(errors.Refused, match=r"0000:09:00\.0"):
        conflicts.refuse_captured(case(lost, files={OPERATORS: line}))


@pytest.mark.parametrize(
    "word",
    ["vfio-pci.ids=10de:1430,10de:0fba", "vfio_pci.ids=10de:1430"],
)
def test_the_kernels_command_line_captures_as_well(word: str) -> None:
    """vga-passthrough on Manjaro: twins, and the console is on the other."""
    there = dataclasses.replace(
        case(TWIN), configured={"/etc/default/grub": ("quiet", word)}
    )
    with pytest.raises(errors.Refused) as caught:
        conflicts.refuse_captured(there)
    assert str(caught.value).startswith("/etc/default/grub: ")
    assert "0000:07:00.0" in str(caught.value)
    conflicts.refuse_captured(dataclasses.replace(there, others=()))
    misspelt = {"/etc/default/grub": (word.replace(".", "-", 1),)}
    conflicts.refuse_captured(dataclasses.replace(there, configured=misspelt))


@pytest.mark.parametrize(
    ("line", "is_refused"),
    [
        ("install vfio-pci /sbin/vfio-pci-override-vga.sh", True),
        ("install vfio_pci echo 1; /sbin/modprobe -i vfio_pci", True),
        ("install vfio-pci /bin/true && /sbin/take-all", True),
        ("install vfio-pci /bin/false", False),
        # Cut off: modprobe ignores it.
        ("install vfio-pci", False),
        ("install nouveau /bin/false", False),
        ("# install vfio-pci /sbin/vfio-pci-override-vga.sh", False),
    ],
)
def test_a_command_in_place_of_loading(line: str, is_refused: bool) -> None:
    there = case(TWIN, files={OPERATORS: f"{line}\n"})
    if not is_refused:
        conflicts.refuse_captured(there)
        return
    with pytest.raises(
        errors.Refused, match=r"^/etc/modprobe.d/vfio.conf:1: "
    ):
        conflicts.refuse_captured(there)


@pytest.mark.parametrize("vendor", [0, 0xFFFF])
def test_a_target_without_ids_is_refused(vendor: int) -> None:
    lost = target(gpu(), "nouveau")._replace(vendor_id=vendor)
    with pytest.raises(errors.Refused, match=r"0000:06:00\.0"):
        conflicts.refuse_unidentified(case(audio(), targets=(lost,)))


def test_identical_functions_are_named_by_ids() -> None:
    with pytest.raises(errors.Refused) as caught:
        conflicts.refuse_identical(
            case(gpu("07:00.0"), audio("07:00.1"), gpu("08:00.0"))
        )
    display, audio_part = str(caught.value).split("; ")
    assert "10de:1430" in display
    assert "0000:07:00.0, 0000:08:00.0" in display
    assert "10de:0fba" in audio_part
    assert "0000:07:00.1" in audio_part
    assert "--binding address" in audio_part


def test_another_product_is_not_identical() -> None:
    conflicts.refuse_identical(
        case(function("07:00.0", "10de:1431", 0x030000))
    )


def test_a_function_with_unknown_ids_may_be_identical() -> None:
    lost = gpu("07:00.0", product_id=MISSING)
    with pytest.raises(errors.Refused, match=r"0000:07:00\.0"):
        conflicts.refuse_identical(case(lost))
