from __future__ import annotations

import pytest

from gpu_passthrough_plugin.model import fabric
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.isolation.values import function, gpu

# A DGX A100: eight GPUs in pairs below switches, six NVSwitches.
GPUS = [
    function(f"{bus}:00.0", "10de:20b0", 0x030200)
    for bus in ("bd", "07", "0f", "47", "4e", "87", "90", "b7")
]
SWITCHES = [
    function(f"c{number}:00.0", "10de:1af1", 0x068000)
    for number in range(4, 10)
]


def test_the_fabric_of_a_board() -> None:
    board = fabric.fabric([*SWITCHES, *GPUS, gpu()])
    assert board is not None
    assert str(board) == (
        "6 NVSwitches (second generation: 0000:c4:00.0, 0000:c5:00.0,"
        " 0000:c6:00.0, 0000:c7:00.0, 0000:c8:00.0, 0000:c9:00.0), 8 GPUs"
        " (0000:07:00.0, 0000:0f:00.0, 0000:47:00.0, 0000:4e:00.0,"
        " 0000:87:00.0, 0000:90:00.0, 0000:b7:00.0, 0000:bd:00.0)"
    )
    assert board.given == ()


def test_one_of_each_of_an_unknown_generation() -> None:
    switch = function("05:00.0", "10de:ffff", 0x068000, driver="vfio-pci")
    board = fabric.fabric([switch, GPUS[1]])
    assert board is not None and board.given == (switch,)
    assert str(board) == "1 NVSwitch (0000:05:00.0), 1 GPU (0000:07:00.0)"


def test_no_switch_no_fabric() -> None:
    assert fabric.fabric([*GPUS, gpu()]) is None


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (None, "fabricmanager.cfg is missing"),
        (Unknown(Why.UNREADABLE, "Permission denied"), "unknown: "),
        (0, "one guest with all of it (FABRIC_MODE=0)"),
        (1, "share the NVSwitches (FABRIC_MODE=1)"),
        (2, "for vGPUs (FABRIC_MODE=2)"),
        (7, "not known here (FABRIC_MODE=7)"),
    ],
)
def test_modes(mode: int | Unknown | None, text: str) -> None:
    assert text in fabric.mode_description(mode)
