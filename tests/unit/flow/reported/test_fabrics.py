"""Hosts of public reports whose functions belong together across groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.model.finding import Finding, Status
from tests.trees import reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import (
    checked,
    groups,
    told,
    verdict,
    verified,
)

BUSES = ("18", "2a", "3a", "5d", "9a", "ab", "ba", "db")
MANAGER = "usr/share/nvidia/nvswitch/fabricmanager.cfg"


def _board(
    gpu: str, switch: str, count: int = 4, mode: int | None = None
) -> Host:
    """Eight GPUs in groups of their own, and NVSwitches in one.

    :param gpu: ids and driver, as ``switch``'s.
    """
    rows = [
        f"{bus}:00.0 0302 {gpu} group={n} reset=flr,bus\n"
        for n, bus in enumerate(BUSES, 50)
    ]
    rows += [
        f"{bus:02x}:00.0 0680 {switch} group=114 reset=bus\n"
        for bus in range(5, 5 + count)
    ]
    files = {} if mode is None else {MANAGER: f"FABRIC_MODE={mode}\n"}
    return reported.host("".join(rows), files=files)


def h200() -> Host:
    """bigstack-oss/cubecos#259: four NVSwitches share one group."""
    return _board(
        "10de:2335 driver=nvidia", "10de:22a3 driver=nvidia-nvswitch", mode=1
    )


def h200_whole() -> Host:
    """kata-containers/kata-containers#13430: all goes to one guest."""
    return _board("10de:2335 driver=vfio-pci", "10de:22a3 driver=vfio-pci")


def a800_whole() -> Host:
    """kata-containers/kata-containers#11912: the same with six switches."""
    return _board("10de:20f3 driver=vfio-pci", "10de:1af1 driver=vfio-pci", 6)


def h100_shared() -> Host:
    """NVIDIA/nccl-tests#260: the first of four guests has the switches."""
    return _board("10de:2330 driver=vfio-pci", "10de:22a3 driver=vfio-pci")


def a100_loose() -> Host:
    """An A100 guide for OpenStack: nothing ever drove the switches."""
    return _board("10de:20b2 driver=vfio-pci", "10de:1af1", 6)


def bare_metal_mode() -> Host:
    """NVIDIA/gpu-operator#2923: the manager serves the host alone."""
    return _board(
        "10de:2335 driver=nvidia", "10de:22a3 driver=nvidia-nvswitch", mode=0
    )


@pytest.mark.parametrize(
    "host, count, generation, status",
    [
        (h200, 4, "third", Status.PASS),
        (h200_whole, 4, "third", Status.WARN),
        (h100_shared, 4, "third", Status.WARN),
        (a800_whole, 6, "second", Status.WARN),
        (a100_loose, 6, "second", Status.PASS),
        (bare_metal_mode, 4, "third", Status.WARN),
    ],
)
def test_a_fabric_is_named(
    host: Callable[[], Host], count: int, generation: str, status: Status
) -> None:
    finding = checked(host())["fabric"]
    assert finding.status is status
    assert f"{count} NVSwitches ({generation} generation" in finding.detail
    assert "8 GPUs" in finding.detail and "partition" in finding.detail
    for bus in BUSES:
        answer = verdict(host(), f"{bus}:00.0")
        assert answer.startswith("assignable") and "NVLink fabric" in answer
        # Cards that were never on NVLink work as such of PCI Express.
        assert "may end with error 802" in answer


def test_a_switch_is_a_member_and_no_bridge() -> None:
    for place in ("05:00.0", "08:00.0"):
        group = groups(h200())[place]
        assert all(m.role.is_assigned for m in group.members)
        assert "NVSwitch of the NVLink fabric" in verdict(h200(), place)


def _fix(host: Host) -> Finding:
    return checked(host)["fabric"]


def test_switches_on_vfio_are_for_one_guest() -> None:
    for host in (h200_whole(), a800_whole(), h100_shared()):
        assert "all GPUs and all NVSwitches to one guest" in _fix(host).remedy
    assert "FABRIC_MODE=1" in _fix(bare_metal_mode()).remedy


def navi() -> Host:
    """joeknock90/Single-GPU-Passthrough#103: audio in another group."""
    return reported.host(
        """
        00:01.1 0604 1022:1483 group=1 below=01
        01:00.0 0604 1002:1478 group=11 below=02 under=00:01.1
        02:00.0 0604 1002:1479 group=12 below=03 under=01:00.0
        03:00.0 0300 1002:73ff group=13 driver=vfio-pci under=02:00.0 reset=bus
        03:00.1 0403 1002:ab28 group=14 driver=snd_hda_intel under=02:00.0
        """,
        cpu="amd",
    )


def test_a_reset_that_takes_another_group_along_is_said() -> None:
    answer = verdict(navi(), "03:00.0")
    for part in ("0000:03:00.1", "group 14", "snd_hda_intel"):
        assert part in answer
    answer = told(verified(navi())["03:00.0"])
    assert "reset-shared" in answer and "0000:03:00.1" in answer
