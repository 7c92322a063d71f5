from __future__ import annotations

import pytest

from gpu_passthrough_plugin.model.redaction import (
    HIDDEN,
    redacted,
    redacted_line,
)

HARDWARE = (
    "00:25:90:ab:cd:ef",
    "00-25-90-AB-CD-EF",
    "00-25-90-ff-ff-ab-cd-ef",
    "50:01:43:80:12:34:56:78",
    "80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1",
    "01-00-25-90-ab-cd-ef",
)


@pytest.mark.parametrize("address", HARDWARE)
def test_hardware_addresses(address: str) -> None:
    for text in (f"eth0: {address}", f"({address}),", f'"{address}"', address):
        assert redacted(text) == text.replace(address, HIDDEN)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Serial Number: WD-123 x", "Serial Number: (hidden) x"),
        ("SerialNumber: WD-123", "SerialNumber: (hidden)"),
        ('"serial number": "WD-1"', '"serial number": "(hidden)"'),
        ("S/N WD-123", "S/N (hidden)"),
        ("SN: 0324716008837", "SN: (hidden)"),
        (
            "/dev/disk/by-id/ata-WDC_WD-1-part2 ro",
            "/dev/disk/by-id/(hidden) ro",
        ),
        ("wwn-0x5000c500a1b2c3d4-part1", "(hidden)-part1"),
    ],
)
def test_serial_numbers(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "P: /devices/pci0000:00/0000:00:02.0/0000:06:00.0",
        "vfio-pci 0000:06:00.0: enabling device (0000 -> 0003)",
        "vfio_pci: add [10de:1430[ffff:ffff]] class 0x000000/00000000",
        "Intel(R) Ethernet 05:32:54 on 2026-11-24",
        "serial8250: ttyS0 at I/O 0x3f8 (irq = 4) is a 16550A",
        "console=ttyS0,115200 intel_iommu=on",
        "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11",
        "snd_hda_intel 0000:06:00.1: SNR=7",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("root=UUID=1A2B-3C4D ro", "root=UUID=(hidden) ro"),
        ("root=LABEL=jane ro", "root=LABEL=(hidden) ro"),
        (
            "rd.luks.uuid=luks-5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11 quiet",
            "rd.luks.uuid=(hidden) quiet",
        ),
        (
            "resume=/dev/disk/by-uuid/5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11",
            "resume=/dev/disk/by-uuid/(hidden)",
        ),
        (
            "BOOT_IMAGE=/43b1cb10c00d48b18061c67e6df40752/linux",
            "BOOT_IMAGE=/(hidden)/linux",
        ),
        (
            "netroot=iscsi:me:secret@10.0.0.1::3260 ro",
            "netroot=(hidden) ro",
        ),
        ("BOOTIF=01-00-25-90-ab-cd-ef", "BOOTIF=(hidden)"),
        ("vfio-pci.ids=10de:1430 zip=1", "vfio-pci.ids=10de:1430 zip=1"),
    ],
)
def test_a_log_line_names_no_disk_and_no_password(
    line: str, shown: str
) -> None:
    assert redacted_line(line) == shown
