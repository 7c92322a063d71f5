"""What of a domain decides where its firmware puts BARs."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.domain_xml import GuestCpu, Platform
from gpu_passthrough_plugin.model.address_space import GIB, Firmware

Q35 = "<type arch='x86_64' machine='q35'>hvm</type>"


def platform(*inside: str, kind: str = "kvm") -> Platform:
    text = f"<domain type='{kind}'><name>g</name>{''.join(inside)}</domain>"
    return domain_xml.parse(text.encode(), "guest.xml").platform


def cpu(text: str, kind: str = "kvm") -> GuestCpu:
    found = platform(text, kind=kind).cpu
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("system", "firmware"),
    [
        (f"<os>{Q35}</os>", Firmware.SEABIOS),
        (f"<os firmware='bios'>{Q35}</os>", Firmware.SEABIOS),
        (f"<os firmware='efi'>{Q35}</os>", Firmware.OVMF),
        (f"<os>{Q35}<loader type='pflash'>/OVMF_CODE.fd</loader></os>",
         Firmware.OVMF),
        (f"<os>{Q35}<loader secure='no'/></os>", Firmware.SEABIOS),
        # May be anything.
        (f"<os>{Q35}<loader type='rom'>/a.bin</loader></os>", None),
        ("<os firmware='efi'><type arch='aarch64'>hvm</type></os>", None),
        ("<os><type machine='microvm'>hvm</type></os>", None),
        ("", Firmware.SEABIOS),
    ],
)  # fmt: skip
def test_firmware(system: str, firmware: Firmware | None) -> None:
    assert platform(system).firmware is firmware


def test_how_wide_the_cpus_addresses_are() -> None:
    assert cpu("") == GuestCpu("", "", False, None, None, frozenset())
    assert cpu("<cpu mode='host-passthrough'/>", "qemu") == GuestCpu(
        "host-passthrough", "", True, None, None, frozenset()
    )
    width = "<maxphysaddr mode='emulate' bits='42'/>"
    assert cpu(f"<cpu mode='host-model'>{width}</cpu>").address_bits == 42
    width = "<maxphysaddr mode='passthrough' limit='46'/>"
    found = cpu(f"<cpu mode='host-passthrough'>{width}</cpu>")
    assert (found.address_bits, found.most_bits) == ("passthrough", 46)
    found = cpu(
        "<cpu><model>EPYC</model><feature name='pdpe1gb'/>"
        "<feature policy='disable' name='svm'/></cpu>"
    )
    assert (found.mode, found.model) == ("custom", "EPYC")
    assert found.features == {"pdpe1gb"}


@pytest.mark.parametrize(
    ("memory", "system", "end"),
    [
        ("", "", 4 * GIB),
        ("<memory>2097152</memory>", Q35, 4 * GIB),
        ("<memory unit='GiB'>8</memory>", Q35, 10 * GIB),
        ("<memory unit='G'>8</memory>", "", 9 * GIB),
        ("<memory unit='b'>8589934592</memory>", Q35, 10 * GIB),
        ("<memory unit='GB'>8</memory>", Q35, 8 * 10**9 + 2 * GIB),
        ("<memory unit='parsec'>8</memory>", Q35, 4 * GIB),
        ("<memory>much</memory>", Q35, 4 * GIB),
        # Each of the slots may lose up to 1 GiB.
        ("<memory unit='GiB'>8</memory>"
         "<maxMemory slots='16' unit='GiB'>32</maxMemory>", Q35, 50 * GIB),
        ("<memory unit='GiB'>8</memory>"
         "<maxMemory slots='16' unit='GiB'>8</maxMemory>", Q35, 10 * GIB),
    ],
)  # fmt: skip
def test_where_the_memory_ends(memory: str, system: str, end: int) -> None:
    assert platform(memory, f"<os>{system}</os>").memory_end == end


def test_what_qemu_and_libvirt_are_told_of_windows() -> None:
    hole = (
        "<devices><controller type='pci' model='pcie-root'>"
        "<pcihole64 unit='GiB'>512</pcihole64></controller></devices>"
    )
    assert platform(hole).hole64_bytes == 512 * GIB
    namespace = "http://libvirt.org/schemas/domain/qemu/1.0"
    words = ("-fw_cfg", "opt/ovmf/X-PciMmio64Mb,string=65536", "-cpu", "max")
    arguments = "".join(f"<q:arg value='{word}'/>" for word in words)
    found = platform(
        f"<q:commandline xmlns:q='{namespace}'>{arguments}</q:commandline>"
    )
    assert found.mmio64_mib == 65536
    assert found.cpu is None
