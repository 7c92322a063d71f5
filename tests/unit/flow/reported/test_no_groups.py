"""Hosts of public reports whose functions are in no IOMMU group."""

from __future__ import annotations

import pytest

from tests.trees import reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import (
    checked,
    everything,
    told,
    verified,
)

_X86 = ("intel_iommu=on", "DMAR", "VT-d")


def grace_hopper() -> Host:
    """harvester/harvester#9265: a GH200 whose SMMU is off."""
    return reported.host(
        "0009:01:00.0 0302 10de:2342 driver=nvidia",
        cpu="arm",
        arguments="intel_iommu=on amd_iommu=on iommu=pt",
        tables=["IORT"],
        iommu=False,
    )


def orange_pi() -> Host:
    """jiangcuo/Proxmox-Arm64#25: the only IOMMUs are of the video units."""
    return reported.host(
        """
        0003:31:00.0 0200 10ec:8125 driver=r8169
        0000:01:00.0 0300 1002:67df driver=amdgpu
        """,
        cpu="arm",
        arguments="iommu.passthrough=1",
        tables=[],
        iommus=["fdb50800.iommu", "fdb60f00.iommu"],
        files={
            "sys/firmware/devicetree/base/model": "Orange Pi 5 Plus\x00",
            "sys/firmware/devicetree/base/compatible": (
                "xunlong,orangepi-5-plus\x00rockchip,rk3588\x00"
            ),
        },
    )


def hyper_v() -> Host:
    """Justsenger/ExHyperV#62: a card by DDA, in a guest of Hyper-V."""
    return reported.host(
        "e1f6:00:00.0 0300 10de:1f08 driver=nouveau",
        arguments="intel_iommu=on",
        iommu=False,
        files={
            "sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n",
            "sys/class/dmi/id/product_name": "Virtual Machine\n",
        },
    )


def xen_dom0() -> Host:
    """xcp-ng/xcp-ng-org#230: Xen has the IOMMU."""
    return reported.host(
        """
        00:02.0 0300 8086:5916 driver=i915
        01:00.0 0300 10de:1c03 driver=pciback
        """,
        iommu=False,
        tables=["DMAR"],
        files={
            "sys/hypervisor/type": "xen\n",
            "proc/xen/capabilities": "control_d\n",
        },
    )


def manjaro() -> Host:
    """foxlet/macOS-Simple-KVM#579: AMD's IOMMU is off in the firmware."""
    return reported.host(
        "08:00.0 0300 1002:67df driver=amdgpu",
        cpu="amd",
        arguments="quiet splash",
        iommu=False,
    )


def cloud_hypervisor() -> Host:
    """kata-containers/kata-containers#11687: no virtual IOMMU."""
    return reported.host(
        "00:05.0 0302 10de:2236 driver=nvidia",
        iommu=False,
        files={
            "sys/class/dmi/id/sys_vendor": "Cloud Hypervisor\n",
            "sys/class/dmi/id/product_name": "cloud-hypervisor\n",
        },
    )


def ec2() -> Host:
    """awslabs/amazon-eks-ami#2586, kubevirt/kubevirt#2764: no metal type."""
    return reported.host(
        "31:00.0 0302 10de:27b8 driver=nvidia",
        iommu=False,
        files={
            "sys/class/dmi/id/sys_vendor": "Amazon EC2\n",
            "sys/class/dmi/id/product_name": "g6.4xlarge\n",
            "proc/cpuinfo": (
                "processor\t: 0\nvendor_id\t: AuthenticAMD\n"
                "flags\t\t: fpu hypervisor\n"
            ),
        },
    )


def rocket_lake() -> Host:
    """joeknock90/Single-GPU-Passthrough#101: the word alone is logged."""
    return reported.host(
        """
        03:00.0 0300 1002:73ff driver=amdgpu
        03:00.1 0403 1002:ab28 driver=snd_hda_intel
        """,
        arguments="intel_iommu=on",
        iommu=False,
    )


def broken_table() -> Host:
    """linuxboot/heads#286, slimbootloader/slimbootloader#786."""
    return reported.host(
        "01:00.0 0300 10de:1c03 driver=nouveau",
        arguments="intel_iommu=on",
        tables=["DMAR"],
        iommu=False,
    )


HOSTS = [
    grace_hopper, orange_pi, hyper_v, xen_dom0, manjaro, cloud_hypervisor,
    ec2, rocket_lake, broken_table,
]  # fmt: skip
_BROKEN = (
    "Your BIOS is broken; DMAR reported at address fbffc000 returns all ones!"
)


@pytest.mark.parametrize("make", HOSTS)
def test_what_is_in_no_group_has_a_cause(make: object) -> None:
    assert callable(make)
    host = make()
    for row in verified(host).values():
        assert row.status == "fail"
        assert any("IOMMU" in f"{c.text}{c.fix}" for c in row.causes)
    assert checked(host)["groups"].status == "fail"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (grace_hopper, ("SMMU",)),
        (orange_pi, ("PCI Express", "fdb50800.iommu")),
        (hyper_v, ("virtual machine (Microsoft Hyper-V)",)),
        (xen_dom0, ("xen-pciback",)),
        (manjaro, ("IVRS", "IOMMU")),
        (cloud_hypervisor, ("virtual machine (Cloud Hypervisor)",)),
        (ec2, ("virtual machine (Amazon EC2)", "bare-metal")),
        (rocket_lake, ("DMAR", "VT-d")),
    ],
)
def test_the_cause_is_named(make: object, words: tuple[str, ...]) -> None:
    assert callable(make)
    said = everything(make())
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    "make",
    [grace_hopper, orange_pi, hyper_v, xen_dom0, manjaro, cloud_hypervisor,
     ec2],
)  # fmt: skip
def test_no_advice_is_for_another_machine(make: object) -> None:
    assert callable(make)
    host = make()
    fixes = [c.fix for row in verified(host).values() for c in row.causes]
    fixes += [f.remedy for f in checked(host).values()]
    for fix in fixes:
        for word in _X86:
            assert word not in fix


def test_a_word_that_the_log_repeats_starts_no_iommu() -> None:
    rows = verified(rocket_lake(), log=("DMAR: IOMMU enabled",))
    said = told(rows["03:00.0"])
    assert "firmware-off [certain]" in said
    assert checked(rocket_lake())["iommu"].status == "fail"


@pytest.mark.parametrize("make", [hyper_v, xen_dom0, cloud_hypervisor, ec2])
def test_nothing_is_bound_where_no_iommu_can_be(make: object) -> None:
    assert callable(make)
    for row in verified(make()).values():
        assert [c.name for c in row.causes] == ["no-iommu-group"]


def test_a_table_that_the_kernel_rejects() -> None:
    row = verified(broken_table(), log=(_BROKEN,))["01:00.0"]
    said = told(row)
    assert _BROKEN in said
    assert "update the firmware" in said
    assert "firmware-off" not in said and "argument-missing" not in said
