"""Hosts of public reports on which a card is not its slot."""

from __future__ import annotations

import pytest

from tests.trees import reported, software
from tests.trees.host import Host
from tests.unit.flow.reported.answers import (
    everything,
    groups,
    select,
    verdict,
    verified,
)


def cezanne() -> Host:
    """ryanprescott/realtek-verb-tools#8: seven functions in a group."""
    return reported.host(
        """
        00:08.0 0600 1022:1632 group=5
        00:08.1 0604 1022:1635 group=5 driver=pcieport below=04
        04:00.0 0300 1002:1638 group=5 driver=amdgpu under=00:08.1 vga=1
        04:00.1 0403 1002:1637 group=5 driver=snd_hda_intel under=00:08.1
        04:00.2 1080 1022:15df group=5 driver=ccp under=00:08.1
        04:00.3 0c03 1022:1639 group=5 driver=xhci_hcd under=00:08.1
        04:00.4 0c03 1022:1639 group=5 driver=xhci_hcd under=00:08.1
        04:00.5 0480 1022:15e2 group=5 driver=snd_pci_acp5x under=00:08.1
        04:00.6 0403 1022:15e3 group=5 driver=snd_hda_intel under=00:08.1
        """,
        cpu="amd",
        consoles=("tty0",),
    )


def test_the_codec_of_a_processor_is_refused() -> None:
    host = cezanne()
    policy = select("1022:15e3")
    said = verdict(host, "04:00.6", policy)
    assert said.startswith("blocked")
    for number in (0, 2, 3, 4):
        assert f"0000:04:00.{number}" in said
    assert "0000:00:08.0" not in said
    whole = everything(reported.debian(host), policy=policy)
    for number in range(6):
        assert f"add 0000:04:00.{number} to" not in whole
        assert f"--select 0000:04:00.{number}" not in whole


def raven() -> Host:
    """cosminmocan/vfio-single-amdgpu-passthrough#3: a dock's network."""
    host = reported.host(
        """
        00:08.0 0600 1022:1452 group=5
        00:08.1 0604 1022:15db group=6 driver=pcieport below=05
        05:00.0 0300 1002:15d8 group=7 driver=vfio-pci under=00:08.1 reset=bus
        05:00.1 0403 1002:15de group=8 driver=snd_hda_intel under=00:08.1
        05:00.2 1080 1022:15df group=8 driver=ccp under=00:08.1
        05:00.3 0c03 1022:15e0 group=8 driver=xhci_hcd under=00:08.1
        05:00.4 0c03 1022:15e1 group=8 driver=xhci_hcd under=00:08.1
        05:00.6 0403 1022:15e3 group=8 driver=snd_hda_intel under=00:08.1
        """,
        cpu="amd",
    )
    usb = "/devices/pci0000:00/0000:00:08.1/0000:05:00.3/usb1/1-1/1-1:1.0"
    software.nic(host, usb, "enx020000000001", 3)
    software.next_hops(host, "inet default dev enx020000000001")
    return host


def test_the_display_alone_is_isolated() -> None:
    host = raven()
    display = verdict(host, "05:00.0")
    assert display.startswith("assignable")
    assert "resets 0000:05:00.2" in display
    audio = verdict(host, "05:00.1", select("05:00.0", "05:00.1"))
    assert audio.startswith("blocked")
    assert "default route" in audio and "0000:05:00.3" in audio


def phoenix() -> Host:
    """isc30/ryzen-gpu-passthrough-proxmox#77: two functions of seven."""
    return reported.host(
        """
        00:08.1 0604 1022:14eb group=10 driver=pcieport below=c5
        c5:00.0 0300 1002:1900 group=20 driver=vfio-pci under=00:08.1
        c5:00.1 0403 1002:1640 group=21 driver=vfio-pci under=00:08.1
        c5:00.2 1080 1022:15c7 group=22 driver=ccp under=00:08.1
        c5:00.3 0c03 1022:15b9 group=23 driver=xhci_hcd under=00:08.1
        c5:00.4 0c03 1022:15ba group=24 driver=xhci_hcd under=00:08.1
        c5:00.5 0480 1022:15e2 group=25 under=00:08.1
        c5:00.6 0403 1022:15e3 group=26 driver=snd_hda_intel under=00:08.1
        """,
        cpu="amd",
        files={
            "etc/modprobe.d/vfio.conf": (
                "options vfio-pci ids=1002:1900,1002:1640\n"
                "softdep amdgpu pre: vfio-pci\n"
            )
        },
    )


def test_the_processors_other_functions_are_not_missing() -> None:
    rows = verified(phoenix(), policy=select("1002:1900", "1002:1640"))
    assert list(rows) == ["c5:00.0", "c5:00.1"]
    for row in rows.values():
        assert row.status == "pass"
        for number in range(2, 7):
            assert not any(f"c5:00.{number}" in c.fix for c in row.causes)


def renoir(*, has_acs: bool) -> Host:
    """dockur/windows#22: a firmware that turns ACS on."""
    numbers = range(4, 12) if has_acs else [2] * 8
    rows = zip(
        (
            "00:08.0 0600 1022:1632",
            "00:08.1 0604 1022:1635 driver=pcieport below=06",
            "06:00.0 0300 1002:1636 driver=amdgpu under=00:08.1",
            "06:00.1 0403 1002:1637 driver=snd_hda_intel under=00:08.1",
            "06:00.2 1080 1022:15df driver=ccp under=00:08.1",
            "06:00.3 0c03 1022:1639 driver=xhci_hcd under=00:08.1",
            "06:00.4 0c03 1022:1639 driver=xhci_hcd under=00:08.1",
            "06:00.6 0403 1022:15e3 driver=snd_hda_intel under=00:08.1",
        ),
        numbers,
        strict=True,
    )
    lines = "\n".join(f"{row} group={number}" for row, number in rows)
    return reported.host(lines, cpu="amd")


def test_a_firmware_with_acs_frees_the_display() -> None:
    before = verdict(renoir(has_acs=False), "06:00.0")
    assert before.startswith("blocked")
    assert "0000:06:00.2" in before and "0000:06:00.3" in before
    assert "00:08.0" not in before
    after = verdict(renoir(has_acs=True), "06:00.0")
    assert after.startswith("assignable")


def vermeer() -> Host:
    """lexi-src/sGPUpt#16: a dummy host bridge in a card's group."""
    return reported.host(
        """
        00:03.0 0600 1022:1482 group=13
        00:03.1 0604 1022:1483 group=13 driver=pcieport below=06
        06:00.0 0300 10de:1e84 group=13 driver=nouveau under=00:03.1
        06:00.1 0403 10de:10f8 group=13 driver=snd_hda_intel under=00:03.1
        06:00.2 0c03 10de:1ad8 group=13 driver=xhci_hcd under=00:03.1
        06:00.3 0c80 10de:1ad9 group=13 driver=nvidia-gpu under=00:03.1
        """,
        cpu="amd",
    )


def test_a_dummy_bridge_is_in_nobodys_way() -> None:
    host = vermeer()
    assert verdict(host, "06:00.0") == "assignable"
    names = [str(m.address) for m in groups(host)["06:00.0"].endpoints]
    assert names == [f"0000:06:00.{number}" for number in range(4)]


def arc(*, is_one_group: bool) -> Host:
    """geerlingguy/raspberry-pi-pcie-devices#510, intel/media-driver#1560."""
    sound = 31 if is_one_group else 32
    return reported.host(
        f"""
        00:03.1 0604 1022:1483 group=29 below=2b
        2b:00.0 0604 8086:4fa0 group=30 under=00:03.1 below=2c
        2c:01.0 0604 8086:4fa4 group=30 under=2b:00.0 below=2d
        2c:04.0 0604 8086:4fa4 group=30 under=2b:00.0 below=2e
        2d:00.0 0300 8086:56a1 group=31 driver=i915 under=2c:01.0 reset=flr
        2e:00.0 0403 8086:4f90 group={sound} driver=snd_hda_intel under=2c:04.0
        """,
        cpu="amd",
    )


@pytest.mark.parametrize("is_one_group", [True, False])
def test_a_card_with_a_switch_is_one_card(*, is_one_group: bool) -> None:
    host = arc(is_one_group=is_one_group)
    said = verdict(host, "2d:00.0")
    assert said.startswith("assignable")
    if not is_one_group:
        assert "0000:2e:00.0 is on the same card" in said


def expansion_box() -> Host:
    """kata-containers/kata-containers#2938: three bridges and a GPU."""
    return reported.host(
        """
        3a:00.0 0604 8086:2030 group=60 driver=pcieport below=3b
        3b:00.0 0604 13ac:1178 group=65 driver=pcieport under=3a:00.0 below=3c
        3c:01.0 0604 13ac:1178 group=66 driver=pcieport under=3b:00.0 below=3e
        3e:00.0 0604 13ac:1178 group=66 driver=pcieport under=3c:01.0 below=3f
        3f:08.0 0604 13ac:1178 group=66 driver=pcieport under=3e:00.0 below=40
        40:00.0 0302 10de:0fbb group=66 driver=vfio-pci under=3f:08.0
        """,
        arguments="vfio-pci.ids=10de:0fbb intel_iommu=on",
    )


def test_bridges_hinder_nothing() -> None:
    host = expansion_box()
    assert verdict(host, "40:00.0").startswith("assignable")
    assert list(verified(host)) == ["40:00.0"]
    said = everything(reported.debian(host))
    assert "13ac:1178" not in said
    assert "--select 0000:3" not in said


def rembrandt() -> Host:
    """mroboff/vm-curator#75: the only display of the host."""
    return reported.host(
        """
        00:08.1 0604 1022:14b9 group=10 driver=pcieport below=e3
        e3:00.0 0300 1002:1681 group=19 driver=vfio-pci under=00:08.1 vga=1
        e3:00.1 0403 1002:1640 group=19 driver=vfio-pci under=00:08.1
        e3:00.2 1080 1022:1649 group=20 driver=ccp under=00:08.1
        """,
        cpu="amd",
        consoles=("tty0",),
    )


def test_the_only_display_stays() -> None:
    said = verdict(rembrandt(), "e3:00.0")
    assert said.startswith("blocked")
    assert "only-console" in said
    assert "0000:e3:00.2" not in said
