"""What a guest that starts is warned of, before it has no address."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin.compute import bar_space
from gpu_passthrough_plugin.compute.bar_space import HostCpu
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address_space import GIB, MIB
from gpu_passthrough_plugin.model.function import Bar, BarKind
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from tests.golden import assert_golden, sections

INTEL, AMD = HostCpu(CpuVendor.INTEL, 46), HostCpu(CpuVendor.AMD, 48)
UEFI = "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os>"
BIOS = "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
H100 = (
    Bar(16 * MIB, BarKind.LOW),
    Bar(128 * GIB, BarKind.HIGH),
    Bar(32 * MIB, BarKind.HIGH),
)
SWITCH = (Bar(512 * MIB, BarKind.LOW),)


def warning(
    inside: str,
    count: int = 1,
    host: HostCpu = INTEL,
    bars: tuple[Bar, ...] | Unknown = H100,
    kind: str = "kvm",
) -> str:
    """What is said of a guest with so many cards on slots of their own."""
    text = f"<domain type='{kind}'><name>g</name>{inside}</domain>"
    domain = domain_xml.parse(text.encode(), "guest.xml")
    functions = [address.parse(f"{n + 1:02x}:00.0") for n in range(count)]
    return bar_space.warning(
        domain, [[f] for f in functions], dict.fromkeys(functions, bars), host
    )


def width(mode: str = "host-model", *, bits: int) -> str:
    inside = f"<maxphysaddr mode='emulate' bits='{bits}'/>"
    return f"<cpu mode='{mode}'>{inside}</cpu>"


def test_messages() -> None:
    few = HostCpu(CpuVendor.INTEL, 39)
    unknown = HostCpu(CpuVendor.INTEL, MISSING)
    old = "<cpu><model>Haswell</model></cpu>"
    texts = {
        "default CPU": warning(UEFI),
        "four": warning(UEFI + width(bits=42), 4),
        "a CPU without pages of 1 GiB": warning(UEFI + old),
        "few bits": warning(UEFI, host=few),
        "the host's bits are not known": warning(UEFI, host=unknown),
        "SeaBIOS": warning(BIOS, 5),
        "nothing helps": warning(UEFI, 8, few),
        "below 4 GiB": warning(UEFI, 3, bars=SWITCH),
        "not read": warning(UEFI, 2, bars=MISSING),
    }
    assert all(text and "\n" not in text for text in texts.values())
    assert_golden(Path(__file__).with_name("bar_space.txt"), sections(texts))


@pytest.mark.parametrize(
    ("inside", "count", "host"),
    [
        # The host's own bits, with which QEMU starts such a CPU.
        (UEFI + "<cpu mode='host-passthrough'/>", 8, INTEL),
        (UEFI + "<cpu mode='maximum'/>", 8, INTEL),
        (UEFI + width(bits=44), 8, INTEL),
        (BIOS, 3, INTEL),
        # Firmware or CPU that cannot be told, or a host that does not say.
        ("<os><type arch='aarch64'>hvm</type></os>", 8, INTEL),
        (UEFI + "<cpu mode='host-passthrough'/>", 8,
         HostCpu(CpuVendor.INTEL, MISSING)),
    ],
)  # fmt: skip
def test_nothing_to_say(inside: str, count: int, host: HostCpu) -> None:
    assert warning(inside, count, host) == ""


def test_a_limit_of_the_hosts_bits() -> None:
    most = "<maxphysaddr mode='passthrough' limit='{}'/>"
    host = f"{UEFI}<cpu mode='host-passthrough'>{most}</cpu>"
    assert warning(host.format(44), 8) == ""
    assert "43 address bits" in warning(host.format(43), 8)


def test_whose_40_bits_are_trusted() -> None:
    small = (Bar(64 * GIB, BarKind.HIGH), Bar(32 * MIB, BarKind.HIGH))
    assert warning(UEFI, host=INTEL, bars=small)
    assert warning(UEFI, host=AMD, bars=small) == ""
    # Without KVM the model's vendor counts.
    for model, is_amd in (("EPYC", True), ("Skylake-Server", False)):
        cpu = f"<cpu><model>{model}</model></cpu>"
        said = warning(UEFI + cpu, bars=small, kind="qemu")
        assert (said == "") is is_amd
    assert warning(UEFI, bars=small, kind="qemu") == ""
    assert warning(UEFI + "<cpu mode='host-model'/>", bars=small, kind="qemu")
