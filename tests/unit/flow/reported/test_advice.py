"""Hosts of public reports on which a printed remedy would have done harm."""

from __future__ import annotations

import pytest

from tests.trees import debian, reported, software
from tests.trees.host import Host
from tests.unit.flow.reported.answers import (
    checked,
    enabled,
    everything,
    planned,
    select,
    told,
    verdict,
    verified,
)


def moved_addresses() -> Host:
    """QubesOS/qubes-issues#7792: new cards shift all addresses."""
    host = reported.host(
        """
        00:01.0 0604 8086:1901 group=1 below=03
        00:01.1 0604 8086:1905 group=1 below=04
        00:1c.0 0604 8086:a110 group=4 below=05
        00:1d.0 0604 8086:a118 group=5 below=06
        03:00.0 0c03 1b21:3241 group=10 driver=xhci_hcd under=00:01.0
        04:00.0 0300 10de:2484 group=11 driver=nouveau under=00:01.1 reset=flr
        04:00.1 0403 10de:228b group=11 driver=snd_hda_intel under=00:01.1
        05:00.0 0200 8086:1539 group=12 driver=igb under=00:1c.0
        06:00.0 0108 144d:a808 group=13 driver=nvme under=00:1d.0
        """
    )
    software.nic(
        host, "/devices/pci0000:00/0000:00:1c.0/0000:05:00.0", "enp5s0", 2
    )
    software.next_hops(host, "inet default dev enp5s0")
    return host


def test_an_address_that_moved_is_another_function() -> None:
    host = reported.debian(moved_addresses())
    before = enabled("03:00.0 10de:2484", "03:00.1 10de:228b")
    rows = verified(host, enabled=before)
    said = told(rows["03:00.0"])
    assert "moved" in said
    assert "1b21:3241" in said and "10de:2484" in said
    assert "04:00.0" in said
    audio = told(rows["03:00.1"])
    assert "0000:04:00.1" in audio
    everything_said = everything(host, enabled=before)
    assert "slot" not in audio
    assert "10de:2484,1b21:3241" not in everything_said
    assert "select 0000:03:00.0" not in everything_said
    assert "0000:03:00.0/driver_override" not in everything_said


def twin_nic() -> Host:
    """harvester/pcidevices#49: one of two functions of the same ids."""
    host = reported.host(
        """
        00:02.0 0604 8086:2f04 group=20 below=04
        04:00.0 0200 8086:10fb group=28 driver=ixgbe under=00:02.0 reset=flr
        04:00.1 0200 8086:10fb group=29 driver=ixgbe under=00:02.0 reset=flr
        """
    )
    below = "/devices/pci0000:00/0000:00:02.0"
    software.nic(host, f"{below}/0000:04:00.1", "ens2f1", 3)
    software.next_hops(host, "inet default dev ens2f1")
    return host


def test_the_twin_of_the_hosts_nic_goes_by_address() -> None:
    host = reported.debian(twin_nic())
    policy = select("04:00.0")
    said = everything(host, policy=policy)
    assert verdict(host, "04:00.0", policy).startswith("assignable")
    assert "0000:04:00.0" in planned(host, policy=policy)
    assert "ids=8086:10fb" not in said
    assert "new_id" not in said


def apu_board() -> Host:
    """pcengines/apu2-documentation#236: no ACS between the root ports."""
    host = reported.host(
        """
        00:00.0 0600 1022:1566 group=0
        00:02.0 0600 1022:156b group=1
        00:02.2 0604 1022:1439 group=1 driver=pcieport below=01 port=4
        00:02.3 0604 1022:1439 group=1 driver=pcieport below=02 port=4
        00:02.4 0604 1022:1439 group=1 driver=pcieport below=03 port=4
        00:02.5 0604 1022:1439 group=1 driver=pcieport below=04 port=4
        01:00.0 0200 8086:157b group=1 driver=igb under=00:02.2
        02:00.0 0200 8086:157b group=1 driver=igb under=00:02.3
        03:00.0 0200 8086:157b group=1 driver=igb under=00:02.4
        04:00.0 0280 168c:003c group=1 driver=ath10k_pci under=00:02.5
        00:11.0 0106 1022:7801 group=4 driver=ahci
        """,
        cpu="amd",
    )
    for number, name in enumerate(("enp1s0", "enp2s0", "enp3s0"), 1):
        software.nic(
            host,
            f"/devices/pci0000:00/0000:00:02.{number + 1}/0000:0{number}:00.0",
            name,
            number + 1,
        )
    software.next_hops(host, "inet default dev enp1s0")
    return host


def test_a_group_with_the_hosts_nics_is_refused() -> None:
    host = apu_board()
    policy = select("168c:003c")
    said = verdict(host, "04:00.0", policy)
    assert said.startswith("blocked")
    for place in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        assert place in said
    assert "default route" in said
    whole = everything(reported.debian(host), policy=policy)
    for place in ("01:00.0", "02:00.0", "03:00.0"):
        assert f"add 0000:{place} to" not in whole
        assert f"--select 0000:{place}" not in whole
    assert "8086:157b" not in whole


def codec_and_flash() -> Host:
    """ryanprescott/realtek-verb-tools#2: the PCH's audio codec."""
    return reported.host(
        """
        00:1f.0 0601 8086:0284 group=14
        00:1f.3 0403 8086:02c8 group=14 driver=snd_hda_intel
        00:1f.4 0c05 8086:02a3 group=14 driver=i801_smbus
        00:1f.5 0c80 8086:02a4 group=14
        """,
        arguments="pci-stub.ids=8086:02c8 intel_iommu=on iommu=pt",
    )


def test_the_firmwares_flash_is_nobodys() -> None:
    host = reported.debian(codec_and_flash())
    policy = select("8086:02c8")
    said = verdict(host, "00:1f.3", policy)
    assert said.startswith("blocked")
    for place in ("0000:00:1f.4", "0000:00:1f.5"):
        assert place in said
    whole = everything(host, policy=policy)
    assert "8086:0284" not in whole and "8086:02a4" not in whole
    assert "reset_method" not in whole or "> " not in whole


def removed_by_a_service() -> Host:
    """OpenGamingCollective/asusctl#344: supergfxd removed the functions."""
    return reported.host(
        """
        00:01.1 0604 8086:a70d group=2 driver=pcieport below=01
        00:02.0 0300 8086:a788 group=0 driver=i915 vga=1
        """,
        files={
            "etc/supergfxd.conf": (
                '{"mode": "Integrated", "vfio_enable": false}\n'
            ),
        },
    )


def test_a_service_that_removes_functions_is_named() -> None:
    host = removed_by_a_service()
    log = (
        "NVRM: Attempting to remove device 0000:01:00.0 with non-zero usage"
        " count!",
    )
    before = enabled("01:00.0 10de:2820", "01:00.1 10de:22bd")
    rows = verified(host, log=log, enabled=before)
    said = told(rows["01:00.0"])
    assert "supergfxd" in said
    assert "NVRM" in said
    assert "has power" not in said


_RULE = (
    'ACTION=="add", SUBSYSTEM=="pci", ATTR{vendor}=="0x10de",'
    ' ATTR{class}=="0x040300", ATTR{power/control}="auto",'
    ' ATTR{remove}="1"\n'
)


@pytest.mark.parametrize(
    "path",
    [
        "usr/lib/udev/rules.d/90-nvidia-udev-pm-G05.rules",
        "etc/udev/rules.d/50-remove-nvidia.rules",
        "run/udev/rules.d/80-nvidia-pm.rules",
        "lib/udev/rules.d/80-nvidia-pm.rules",
    ],
)
def test_a_udev_rule_that_removes_audio_is_named(path: str) -> None:
    """openSUSE/SUSEPrime#60, bayasdev/envycontrol#171, ublue-os/hwe#291."""
    host = reported.host(
        """
        00:01.0 0604 8086:1901 group=1 below=01
        01:00.0 0302 10de:1c20 group=1 driver=vfio-pci under=00:01.0
        """,
        files={path: f"# Remove NVIDIA audio\n{_RULE}"},
    )
    before = enabled("01:00.0 10de:1c20", "01:00.1 10de:10f1")
    said = told(verified(host, enabled=before)["01:00.1"])
    assert f"/{path}" in said
    assert "slot" not in said
    assert "echo 1 > /sys/bus/pci/rescan" not in said


def test_enabling_says_what_removes_the_functions_again() -> None:
    """bayasdev/envycontrol#171: the rule is there before the card is bound."""
    host = debian.debian12()
    path = "/etc/udev/rules.d/50-remove-nvidia.rules"
    host.file(path[1:], f"\n{_RULE}")
    said = planned(host, policy=select("0000:04:00.0"))
    assert f"{path}:2 removes 0000:04:00.1" in said
    said = planned(debian.debian12(), policy=select("0000:04:00.0"))
    assert "from the bus" not in said


@pytest.mark.parametrize(
    ("release", "methods", "logged"),
    [
        ("5.14.16-1", None, ()),
        ("5.15.5-1", "bus", ("vendor_reset_hook: installed",)),
        (
            "5.18.0-1",
            "bus",
            (
                "vfio-pci 0000:0f:00.0: Unsupported reset method"
                " 'device_specific'",
            ),
        ),
    ],
)
def test_a_reset_method_that_the_kernel_lacks(
    release: str, methods: str | None, logged: tuple[str, ...]
) -> None:
    """gnif/vendor-reset#46, #80: Linux before 5.15 has no reset_method."""
    reset = f" reset={methods}" if methods else ""
    host = reported.host(
        f"""
        00:03.1 0604 1022:1483 group=15 below=0f
        0f:00.0 0300 1002:731f group=29 driver=vfio-pci under=00:03.1{reset}
        """,
        cpu="amd",
        release=release,
    )
    said = everything(host, log=logged)
    assert "echo default" not in said
    assert "echo device_specific" not in said
    if methods is None:
        assert "/reset_method" not in said


def chipset_group() -> Host:
    """HikariKnight/quickpassthrough#22: group 12 is the chipset's."""
    host = reported.host(
        """
        00:01.3 0604 1022:1453 group=12 driver=pcieport below=01
        01:00.0 0c03 1022:43d0 group=12 driver=xhci_hcd under=00:01.3
        01:00.1 0106 1022:43c8 group=12 driver=ahci under=00:01.3
        01:00.2 0604 1022:43c6 group=12 driver=pcieport under=00:01.3 below=02
        02:00.0 0604 1022:43c7 group=12 driver=pcieport under=01:00.2 below=03
        02:01.0 0604 1022:43c7 group=12 driver=pcieport under=01:00.2 below=05
        03:00.0 0300 10de:1287 group=12 driver=nouveau under=02:00.0
        05:00.0 0200 10ec:8168 group=12 driver=r8169 under=02:01.0
        00:03.1 0604 1022:1453 group=14 driver=pcieport below=07
        07:00.0 0300 10de:2504 group=15 driver=vfio-pci under=00:03.1
        07:00.1 0403 10de:228e group=15 under=00:03.1
        """,
        cpu="amd",
        arguments="vfio_pci.ids=10de:2504,10de:228e",
        files={
            "etc/modprobe.d/vfio.conf": (
                "options vfio-pci ids=10de:2504,10de:228e\n"
            ),
        },
    )
    chipset = "/devices/pci0000:00/0000:00:01.3"
    software.disk(host, f"{chipset}/0000:01:00.1/ata1/block", "sda", "8:0")
    software.mounts(host, {"/": ("8:0", "/dev/sda", "ext4")})
    software.nic(
        host, f"{chipset}/0000:01:00.2/0000:02:01.0/0000:05:00.0", "enp5s0", 2
    )
    software.next_hops(host, "inet default dev enp5s0")
    return host


def test_a_card_in_a_chipset_slot_is_refused() -> None:
    host = chipset_group()
    said = verdict(host, "03:00.0")
    assert said.startswith("blocked")
    for place in ("0000:01:00.0", "0000:01:00.1", "0000:05:00.0"):
        assert place in said
    assert "another slot" in said or "to a slot" in said
    assert verdict(host, "07:00.0").startswith("assignable")
    whole = everything(reported.debian(host))
    assert "1022:43" not in whole
    assert "10ec:8168" not in whole
    audio = verified(host)["07:00.1"]
    assert "/sys/bus/pci/drivers_probe" in told(audio)


def test_a_check_passes_with_the_viable_group() -> None:
    assert "1 of 2" in checked(chipset_group())["assignable"].detail
