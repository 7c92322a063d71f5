"""Commands in a fix: those that can be run as they stand."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.model import advice


def test_no_text_is_no_fix() -> None:
    assert advice.fix("") is None


@pytest.mark.parametrize(
    ("text", "commands", "lines"),
    [
        ("leave it to the host", (), ()),
        (
            "run 'gpu-passthrough host enable', or 'modprobe vfio-pci'",
            ("gpu-passthrough host enable", "modprobe vfio-pci"),
            (),
        ),
        ("the card's seat, and the riser's 'power cable'", (), ()),
        ("run 'gpu-passthrough host enable --select ADDRESS'", (), ()),
        ("run 'gpu-passthrough group show N'", (), ()),
        ("put 'options vfio-pci ids=…' into a file", (), ()),
        (
            "put 'softdep nouveau pre: vfio-pci' into a file",
            (),
            ("softdep nouveau pre: vfio-pci",),
        ),
        (
            "'echo 0 > /sys/bus/pci/devices/0000:06:00.0/sriov_numvfs'",
            ("echo 0 > /sys/bus/pci/devices/0000:06:00.0/sriov_numvfs",),
            (),
        ),
        ("enable 'Above 4G decoding' in the firmware", (), ()),
    ],
)
def test_commands_are_complete(
    text: str, commands: tuple[str, ...], lines: tuple[str, ...]
) -> None:
    assert advice.fix(text) == advice.Fix(text, commands, lines)
