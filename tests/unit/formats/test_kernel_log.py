from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import kernel_log, kernel_messages
from gpu_passthrough_plugin.formats.kernel_log import parsed, relevant
from gpu_passthrough_plugin.model import address
from tests.trees import seed_logs

GPU = address.parse("06:00.0")
SAID = "vfio-pci 0000:06:00.0: enabling device (0000 -> 0003)"


@pytest.mark.parametrize(
    "head",
    [
        "[ 2144.638305] ",
        "[2144.638305] ",
        "[    8.362177][    T1] ",
        "[    8.362177][ C12] ",
        "<6>[    8.362177] ",
        "kern  :info  : [    8.362177] ",
        "[Tue Nov 24 05:32:54 2026] ",
        "2026-11-24T05:32:54,362177+00:00 ",
        "Nov 24 05:32:54 compute-7 kernel: ",
        "6,339,5140900,-;",
        "6,339,5140900,-,caller=T1;",
        "",
    ],
)
def test_times_are_left_out(head: str) -> None:
    assert parsed(f"{head}{SAID}\n") == (SAID,)


def test_what_programs_say_keeps_their_name() -> None:
    line = "Nov 24 05:32:54 c7 systemd-modules-load[123]: Failed to find it\n"
    assert parsed(line) == ("systemd-modules-load[123]: Failed to find it",)
    assert parsed("12,340,1,-;systemd[1]: hello\n") == ("systemd[1]: hello",)


def test_brackets_of_the_message_stay() -> None:
    for line in ("[drm] nouveau 0000:06:00.0", "[drm:nv50 [x]] 7"):
        assert parsed(f"[    1.0] {line}\n{line}\n") == (line, line)


def test_records_of_kmsg() -> None:
    text = (
        "6,1,100,-;vfio-pci 0000:06:00.0: one\n"
        " SUBSYSTEM=pci\n"
        " DEVICE=+pci:0000:06:00.0\n"
        "4,2,200,c;two\\x0athree \\x5b\n"
    )
    assert parsed(text) == ("vfio-pci 0000:06:00.0: one", "two three [")
    assert parsed("") == parsed("\n \n") == ()


def test_the_seeds_logs_are_kept_whole() -> None:
    for log in (seed_logs.SUCCESS, seed_logs.FAILURE):
        lines = parsed(log)
        assert len(lines) == log.count("\n")
        assert relevant(lines) == lines


@pytest.mark.parametrize(
    "line",
    [
        "DMAR: Intel(R) Virtualization Technology for Directed I/O",
        "AMD-Vi: Interrupt remapping enabled",
        "DMAR-IR: Enabled IRQ remapping in x2apic mode",
        "pci 0000:06:00.0: Adding to iommu group 18",
        "iommu: Default domain type: Translated",
        "x86/apic: IRQ remapping is not supported",
        'Unknown kernel command line parameters "intel_opmmu=on"',
        "gpu-passthrough: 0000:06:00.0 is on vfio-pci",
        "nouveau 0000:06:00.0: NVIDIA GM206 (126010a1)",
        "snd_hda_intel 0000:06:00.1: Disabling MSI",
        "efifb: probing for efifb",
        "simple-framebuffer simple-framebuffer.0: [drm] Registered",
        "pci 0000:06:00.0: vgaarb: setting as boot VGA device",
        "pci 0000:06:00.0: BAR 6: can't assign [mem size 0x00080000 pref]",
        "pcieport 0000:00:02.0: pciehp: Slot(4): Link Down",
        "pci 0000:06:00.0: can't change power state from D3cold to D0",
        "systemd-modules-load[1]: Failed to find module 'vfio_pci'",
    ],
)
def test_what_explains_something_is_kept(line: str) -> None:
    assert relevant([line]) == (line,)


@pytest.mark.parametrize(
    "line",
    [
        "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)",
        "DMI: Supermicro X9DRi-LN4+/X9DR3-LN4+, BIOS 3.2 03/04/2015",
        "usb 1-1: SerialNumber: 4C530001",
        "ata1.00: ATA-9: WDC WD10EZEX-00BN5A0, 01.01A01, max UDMA/100",
        "pci 0000:06:00.0: [10de:1430] type 00 class 0x030000",
        "pci_bus 0000:06: resource 0 [io  0x2000-0x2fff]",
        "br0: port 1(eno1) entered forwarding state",
        "audit: type=1400 apparmor",
    ],
)
def test_what_explains_nothing_is_left_out(line: str) -> None:
    assert relevant([line]) == ()


def test_what_names_the_machine_is_hidden() -> None:
    lines = relevant(
        [
            "Command line: BOOT_IMAGE=/boot/vmlinuz"
            " root=UUID=49650207-5673-41e8-9f3b-5572de97a271 ro"
            " ip=10.0.0.7::10.0.0.1:255.255.255.0 intel_iommu=on",
            "igb 0000:01:00.0: eth0: (PCIe:5.0Gb/s) 00:25:90:AB:cd:ef",
        ]
    )
    assert lines == (
        "Command line: BOOT_IMAGE=/boot/vmlinuz "
        "root=UUID=00000000-0000-4000-8000-000000000001 ro"
        " ip=REDACTED intel_iommu=on",
        "igb 0000:01:00.0: eth0: (PCIe:5.0Gb/s) 02:00:00:00:00:02",
    )


def test_the_oldest_of_too_many_are_kept() -> None:
    lines = [f"vfio {number}" for number in range(30_000)]
    kept = relevant(lines)
    assert kept == tuple(lines[: len(kept)])
    assert 1000 < len(kept) < 30_000


def test_lines_that_name_a_function() -> None:
    lines = (
        "vfio-pci 0000:06:00.0: enabling device",
        "vfio-pci: probe of 0000:06:00.0 failed with error -22",
        "vfio-pci 10000:06:00.0: enabling device",
        "vfio-pci 0000:06:00.1: enabling device",
        "nouveau 0000:06:00.0",
    )
    assert kernel_log.about(lines, GPU) == (lines[0], lines[1], lines[4])


@pytest.mark.parametrize(
    "line",
    [
        "vfio-pci: probe of 0000:06:00.0 failed with error -22",
        "vfio-pci 0000:06:00.0: probe with driver vfio-pci failed with error"
        " -22",
    ],
)
def test_how_kernels_say_that_vfio_pci_gave_up(line: str) -> None:
    pattern = kernel_messages.VFIO_PROBE_FAILED
    other = "nouveau: probe of 0000:06:00.0 failed with error -22"
    assert kernel_log.first((other, line), pattern) == line
    assert kernel_log.first((other,), pattern) is None


def test_that_an_iommu_was_asked_for_proves_nothing() -> None:
    lines = ("DMAR: IOMMU enabled", "DMAR: Host address width 46")
    assert kernel_log.conclusive(lines) == lines[1:]


def test_a_word_is_matched_whole() -> None:
    lines = ("nvidia-nvlink: Nvlink Core", "NVRM: nvidia 0000:06:00.0")
    assert kernel_log.first(lines, kernel_messages.word("nvlin")) is None
    assert kernel_log.first(lines, kernel_messages.word("Nvidia")) == lines[0]
