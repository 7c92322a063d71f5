"""Hosts of public reports whose evidence is easily mistaken."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis.verify import Verified
from tests.trees import reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import select, told, verified


def _fix(row: Verified, name: str) -> str:
    (cause,) = (c for c in row.causes if c.name == name)
    return cause.fix


def framework_desktop() -> Host:
    """siderolabs/talos#14356: simpledrm in spite of the cure."""
    return reported.host(
        """
        00:08.1 0604 1022:150b group=10 driver=pcieport below=c3
        c3:00.0 0300 1002:1586 group=20 driver=vfio-pci under=00:08.1 vga=1
        """,
        cpu="amd",
        arguments=(
            "amd_iommu=on iommu=pt video=efifb:off"
            " initcall_blacklist=sysfb_init"
        ),
        files={
            "proc/iomem": (
                "2800000000-2fffffffff : 0000:c3:00.0\n"
                "  2800000000-2801fa3fff : BOOTFB\n"
            )
        },
    )


_ARGUMENTS = (
    "Kernel command line: BOOT_IMAGE=/vmlinuz amd_iommu=on iommu=pt"
    " video=efifb:off initcall_blacklist=sysfb_init"
)
_APERTURE = (
    "vfio-pci 0000:c3:00.0: BAR 0: can't reserve [mem"
    " 0x2800000000-0x2fffffffff 64bit pref]"
)


def test_a_cure_in_place_is_no_fix() -> None:
    log = (
        _ARGUMENTS,
        "blacklisting initcall sysfb_init",
        "[drm] Initialized simpledrm 1.0.0 for simple-framebuffer.0 on minor"
        " 0",
        _APERTURE,
    )
    row = verified(framework_desktop(), log=log)["c3:00.0"]
    said = told(row)
    assert f"| {_APERTURE}" in said
    fix = _fix(row, "framebuffer")
    assert "add" not in fix.split()
    assert "simple-framebuffer.0" in fix


@pytest.mark.parametrize("quote", ["'", "\u2019"])
def test_the_real_line_of_a_framebuffer(quote: str) -> None:
    """harvester/pcidevices#81: efifb has the card's memory."""
    host = reported.host(
        """
        b2:00.0 0604 8086:2030 group=60 driver=pcieport below=b3
        b3:00.0 0300 10de:1bb0 group=61 driver=vfio-pci under=b2:00.0 vga=1
        """
    )
    line = (
        f"vfio-pci 0000:b3:00.0: BAR 1: can{quote}t reserve [mem"
        " 0xe0000000-0xefffffff 64bit pref]"
    )
    harmless = "vfio-pci 0000:b3:00.0: vfio_ecap_init: hiding ecap 0x19@0x900"
    row = verified(host, log=(harmless, line))["b3:00.0"]
    said = told(row)
    assert f"| {line}" in said
    assert "ecap" not in said
    assert "initcall_blacklist=sysfb_init" in _fix(row, "framebuffer")


def alder_lake() -> Host:
    """Upinel/PVE-Intel-vGPU#11: the stock i915 has no max_vfs."""
    return reported.host(
        "00:02.0 0300 8086:46a6 group=0 driver=i915",
        release="6.8.12-11-pve",
        arguments=("intel_iommu=on iommu=pt i915.enable_guc=3 i915.max_vfs=7"),
    )


def test_another_drivers_parameter_is_not_vfios() -> None:
    log = ("i915: unknown parameter 'max_vfs' ignored",)
    said = told(verified(alder_lake(), log=log)["00:02.0"])
    assert "modprobe-unread" not in said


_BAD = [
    "libkmod: kmod_config_parse: /etc/modprobe.d/{} line 1: ignoring bad line"
    " starting with '{}'",
    "libkmod: ERROR ../libkmod/libkmod-config.c:656 kmod_config_parse:"
    " /etc/modprobe.d/{} line 1: ignoring bad line starting with '{}'",
]


@pytest.mark.parametrize("form", _BAD)
@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        # TommyTran732/Arch-Setup-Script#46
        ("blacklist.conf", "404: Not Found\n", "404:"),
        # A public notes repository: the first characters were lost.
        (
            "blacklist-nouveau.conf",
            "cklist nouveau\nblacklist lbm-nouveau\n",
            "cklist",
        ),
    ],
)
def test_a_bad_line_is_named(
    form: str, name: str, text: str, word: str
) -> None:
    host = reported.host(
        """
        00:01.0 0604 8086:1901 group=1 driver=pcieport below=01
        01:00.0 0300 10de:2504 group=1 driver=nouveau under=00:01.0
        """,
        files={f"etc/modprobe.d/{name}": text},
    )
    said = told(verified(host, log=(form.format(name, word),))["01:00.0"])
    assert "competing-driver [certain]" in said
    assert f"/etc/modprobe.d/{name}" in said
    assert word in said


def test_words_of_another_processor_have_no_cause() -> None:
    """noamsto/nix-amd-ai#49: intel_iommu=on on an AMD laptop works."""
    host = reported.host(
        """
        00:08.1 0604 1022:150b group=10 driver=pcieport below=c3
        c3:00.1 1180 1022:17f0 group=21 driver=vfio-pci under=00:08.1
        """,
        cpu="amd",
        arguments=(
            "intel_iommu=on iommu.passthrough=1 iommu.passthrough=0 iommu=pt"
            " iommu.passthrough=1"
        ),
    )
    log = (
        "iommu: Default domain type: Passthrough (set via kernel command"
        " line)",
        "AMD-Vi: Interrupt remapping enabled",
    )
    row = verified(host, log=log, policy=select("1022:17f0"))["c3:00.1"]
    assert row.status == "pass"
    assert "argument" not in told(row) and "iommu" not in told(row)
