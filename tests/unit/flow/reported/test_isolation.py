"""Hosts of public reports whose groups are less than isolation."""

from __future__ import annotations

import pytest

from tests.trees import config_space, reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import (
    checked,
    everything,
    groups,
    select,
    told,
    verdict,
    verified,
)

_MSI = "0x00000000fee00000 0x00000000feefffff msi\n"


def regions(number: int, *lines: str) -> dict[str, str]:
    """The kernel's file of a group's reserved regions."""
    text = "".join(f"{line}\n" for line in lines)
    return {
        f"sys/kernel/iommu_groups/{number}/reserved_regions": text + _MSI,
        f"sys/kernel/iommu_groups/{number}/type": "DMA-FQ\n",
    }


_RMRR = (
    "vfio-pci 0000:04:00.1: DMAR: Device is ineligible for IOMMU domain attach"
    " due to platform RMRR requirement.  Contact your platform vendor."
)


def proliant() -> Host:
    """harvester/harvester#7340: the firmware maps memory for the slot."""
    return reported.host(
        """
        00:02.0 0604 8086:2f04 group=30 below=04
        04:00.0 0200 14e4:1657 group=38 driver=vfio-pci under=00:02.0
        04:00.1 0200 14e4:1657 group=39 driver=vfio-pci under=00:02.0
        """,
        arguments="intel_iommu=on amd_iommu=on iommu=pt",
        files={
            **regions(38, "0xf5c83000 0xf5ffffff direct"),
            **regions(39, "0xf5c83000 0xf5ffffff direct"),
        },
    )


def test_memory_of_the_firmware_is_no_guests() -> None:
    host = proliant()
    policy = select("14e4:1657")
    said = verdict(host, "04:00.1", policy)
    assert said.startswith("blocked")
    assert "0xf5c83000-0xf5ffffff" in said and "HPE" in said
    row = verified(host, log=(_RMRR,), policy=policy)["04:00.1"]
    assert row.status == "fail"
    assert "rmrr [certain]" in told(row) and _RMRR in told(row)
    assert "allow_unsafe_interrupts" not in everything(
        host, log=(_RMRR,), policy=policy
    )


def legacy_server() -> Host:
    """harvester/harvester#8702: no switch in the firmware."""
    return reported.host(
        """
        00:03.0 0604 8086:3c08 group=20 below=0a
        0a:00.0 0300 10de:1cb3 group=21 driver=vfio-pci under=00:03.0
        0a:00.1 0403 10de:0fb9 group=21 driver=vfio-pci under=00:03.0
        """,
        arguments="intel_iommu=on,relax_rmrr",
        files=regions(21, "0xbdffe000 0xbdffffff direct"),
    )


def test_a_word_that_the_kernel_does_not_know_is_no_cure() -> None:
    log = ("DMAR: Unknown option - 'relax_rmrr'", _RMRR.replace("04", "0a"))
    host = legacy_server()
    assert verdict(host, "0a:00.0").startswith("blocked")
    rows = verified(host, log=log)
    assert rows["0a:00.0"].status == "fail"
    said = everything(reported.debian(host), log=log)
    assert "add relax_rmrr" not in said
    assert "Unknown option - 'relax_rmrr'" in said


def test_a_region_that_the_firmware_gave_up() -> None:
    """AltraMayor/gatekeeper#718: the firmware's switch was set."""
    host = reported.host(
        """
        00:02.0 0604 8086:2f04 group=30 below=04
        04:00.0 0200 14e4:1657 group=38 driver=vfio-pci under=00:02.0
        """,
        files=regions(38),
    )
    policy = select("14e4:1657")
    assert verdict(host, "04:00.0", policy).startswith("assignable")
    assert verified(host, policy=policy)["04:00.0"].status == "pass"


def test_a_relaxed_region_is_named() -> None:
    """kiler129/relax-intel-rmrr#16: a kernel that ignores the firmware."""
    line = (
        "DMAR: Intel-IOMMU: assuming all RMRRs are relaxable. This can lead to"
        " instability or data loss"
    )
    host = reported.host(
        """
        00:02.0 0604 8086:3c04 group=30 below=04
        04:00.0 0200 14e4:1657 group=38 driver=vfio-pci under=00:02.0
        """,
        arguments="intel_iommu=on,relax_rmrr",
        files=regions(38, "0xbdffe000 0xbdffffff direct-relaxable"),
    )
    policy = select("14e4:1657")
    assert verdict(host, "04:00.0", policy).startswith("assignable")
    rows = verified(host, log=(line,), policy=policy)
    assert "rmrr-relaxed" in told(rows["04:00.0"])
    assert line in told(rows["04:00.0"])


def gb10() -> Host:
    """NVIDIA/OpenShell#1780: IORT's RMR nodes on a DGX Spark."""
    return reported.host(
        "000f:01:00.0 0302 10de:2e12 group=5 driver=vfio-pci",
        cpu="arm",
        files=regions(5, "0xfe000000 0xfeffffff direct"),
    )


def test_arm_has_such_memory_as_well() -> None:
    line = (
        "vfio-pci 000f:01:00.0: Firmware has requested this device have a 1:1"
        " IOMMU mapping, rejecting configuring the device without a 1:1"
        " mapping. Contact your platform vendor."
    )
    host = gb10()
    assert verdict(host, "000f:01:00.0").startswith("blocked")
    said = told(verified(host, log=(line,))["000f:01:00.0"])
    assert line in said
    whole = everything(host, log=(line,))
    for word in ("VT-d", "relax_rmrr", "intel_iommu"):
        assert word not in whole


def riser() -> Host:
    """j4cbo/tiny5-m2-riser#19: the processor's port has no ACS."""
    return reported.host(
        """
        00:01.0 0604 8086:1901 group=2 driver=pcieport below=01 port=4
        01:00.0 0200 8086:1572 group=2 driver=vfio-pci under=00:01.0
        01:00.1 0200 8086:1572 group=2 driver=i40e under=00:01.0
        00:1b.0 0604 8086:a340 group=9 driver=pcieport below=02 port=4/1d/1d
        """
    )


def test_one_function_of_a_port_without_acs() -> None:
    said = everything(riser(), policy=select("01:00.0"))
    assert "0000:01:00.1" in said
    assert "pcie_acs_override=" not in said


def split_by_a_patch(*, is_root_complex: bool = False) -> Host:
    """tiiuae/ghaf#1711: a kernel splits slot 1f and no word says so."""
    rows = (
        ("0", "0601", "8086:5182", 14, ""),
        ("3", "0401", "8086:51c8", 15, "snd_hda_intel"),
        ("4", "0c05", "8086:51a3", 16, "i801_smbus"),
        ("5", "0c80", "8086:51a4", 17, ""),
        ("6", "0200", "8086:1a1e", 18, "e1000e"),
    )
    host = reported.host("")
    for number, code, ids, group, driver in rows:
        # Type 9 is an endpoint of the root complex.
        config = bytearray(config_space.port(9))
        config[0x0E] = 0x80
        if not is_root_complex:
            config[0x34] = 0
        host.function(
            f"0000:00:1f.{number}", ids, f"{code}00", group=group,
            driver=driver or None, more={"config": bytes(config[:256])},
        )  # fmt: skip
    return host


def test_a_split_slot_without_acs_is_named() -> None:
    policy = select("8086:51c8")
    said = verdict(split_by_a_patch(), "00:1f.3", policy)
    assert "0000:00:1f.0" in said
    assert "ACS" in said


def test_endpoints_of_the_root_complex_are_isolated() -> None:
    """The kernel says so of Intel's (pci_quirk_rciep_acs)."""
    host = split_by_a_patch(is_root_complex=True)
    assert verdict(host, "00:1f.3", select("8086:51c8")) == "assignable"


def tuned(*, is_at_boot: bool) -> Host:
    """NVIDIA/NV-Kernels#20: redirection is off for GPUDirect."""
    first, second = (40, 40) if is_at_boot else (41, 42)
    port = "port=6/1d/0"
    return reported.host(
        f"""
        17:00.0 0604 8086:352a group=39 below=18 port=4/1d/1d
        18:00.0 0604 1000:c030 group=40 under=17:00.0 below=19 port=5
        19:00.0 0604 1000:c030 group=40 under=18:00.0 below=1a {port}
        19:01.0 0604 1000:c030 group=40 under=18:00.0 below=1b {port}
        1a:00.0 0302 10de:2330 group={first} driver=vfio-pci under=19:00.0
        1b:00.0 0302 10de:2330 group={second} driver=vfio-pci under=19:01.0
        """,
        arguments="pci=config_acs=000000@pci:1000:c030" if is_at_boot else "",
    )


def test_acs_that_was_cleared_after_the_groups_were_made() -> None:
    said = verdict(tuned(is_at_boot=False), "1a:00.0")
    assert "0000:19:00.0" in said and "ACS" in said


def test_acs_that_was_cleared_at_boot_makes_honest_groups() -> None:
    host = tuned(is_at_boot=True)
    assert groups(host)["1a:00.0"].number == groups(host)["1b:00.0"].number
    said = verdict(host, "1a:00.0")
    assert "2 primaries" in said


def cloud_guest() -> Host:
    """k8snetworkplumbingwg/sriov-network-operator#257."""
    return reported.host(
        "00:05.0 0200 1af4:1000 group=0 driver=vfio-pci",
        iommu=False,
        files={
            "sys/kernel/iommu_groups/0/name": "vfio-noiommu\n",
            "sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "Y\n",
            "sys/class/dmi/id/sys_vendor": "OpenStack Foundation\n",
            "sys/class/dmi/id/product_name": "OpenStack Nova\n",
        },
    )


def test_no_iommu_mode_of_a_cloud_guest() -> None:
    log = (
        "vfio-pci 0000:00:05.0: Adding kernel taint for vfio-noiommu group on"
        " device",
    )
    host = cloud_guest()
    policy = select("1af4:1000")
    said = verdict(host, "00:05.0", policy)
    assert said.startswith("blocked")
    assert "hw:viommu_model" in said
    whole = everything(host, log=log, policy=policy)
    assert "virtual machine" in whole
    assert checked(host, policy)["assignable"].status == "fail"
    assert verified(host, log=log, policy=policy)["00:05.0"].status == "fail"


_UNSAFE = "/etc/modprobe.d/iommu_unsafe_interrupts.conf"


def opteron() -> Host:
    """linuxboot/heads#712: the protection is switched off by hand."""
    return reported.host(
        """
        00:0b.0 0604 1002:5a1f group=1 below=02
        02:00.0 0300 10de:1c03 group=20 driver=vfio-pci under=00:0b.0
        02:00.1 0403 10de:10f1 group=20 driver=vfio-pci under=00:0b.0
        """,
        cpu="amd",
        files={
            _UNSAFE[1:]: (
                "options vfio_iommu_type1 allow_unsafe_interrupts=1\n"
            ),
            "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts": (
                "Y\n"
            ),
        },
    )


@pytest.mark.parametrize(
    "line",
    [
        "AMD-Vi: Disabling interrupt remapping",
        "AMD-Vi: Not enabling interrupt remapping due to FADT or IVRS",
    ],
)
def test_unsafe_interrupts_are_named(line: str) -> None:
    said = told(verified(opteron(), log=(line,))["02:00.0"])
    assert "interrupt-remapping" in said
    assert _UNSAFE in said
