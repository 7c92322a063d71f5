"""Addresses, ids and names, and what stands for them."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.model.identifiers import Identifiers, Kind

HARDWARE = {
    "00:25:90:ab:cd:ef": "02:00:00:00:00:01",
    "00-25-90-AB-CD-EF": "02-00-00-00-00-01",
    "00-25-90-ff-ff-ab-cd-ef": "02-00-00-00-00-00-00-01",
    "50:01:43:80:12:34:56:78": "02:00:00:00:00:00:00:01",
    "80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1": (
        f"02{':00' * 18}:01"
    ),
    "01-00-25-90-ab-cd-ef": "01-02-00-00-00-00-01",
}


def ids(text: str) -> str:
    return Identifiers().hidden(text)


@pytest.mark.parametrize(("address", "stand_in"), HARDWARE.items())
def test_hardware_addresses(address: str, stand_in: str) -> None:
    for text in (f"eth0: {address}", f"({address}),", f'"{address}"', address):
        shown = text.replace(address, stand_in)
        assert ids(text) == shown
        assert ids(shown) == shown


def test_equal_addresses_stay_equal() -> None:
    identifiers = Identifiers()
    first, second = "00:25:90:ab:cd:ef", "00:25:90:ab:cd:f0"
    shown = identifiers.hidden(f"{first} {second} nic-{first.upper()}")
    one, other, _ = shown.split()
    assert one != other
    assert identifiers.hidden(first.upper()) == one
    assert identifiers.hidden("enx002590abcdef") == "enx020000000001"
    assert identifiers.counts[Kind.MAC] == 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Serial Number: WD-123 x", "Serial Number: REDACTED x"),
        ("SerialNumber: WD-123", "SerialNumber: REDACTED"),
        ('"serial number": "WD-1"', '"serial number": "REDACTED"'),
        ("S/N WD-123", "S/N REDACTED"),
        ("SN: 0324716008837", "SN: REDACTED"),
        (
            "/dev/disk/by-id/ata-WDC_WD-1-part2 ro",
            "/dev/disk/by-id/REDACTED ro",
        ),
        ("wwn-0x5000c500a1b2c3d4-part1", "REDACTED-part1"),
        ("from 198.51.100.7:3260", "from 192.0.2.1:3260"),
        ("to [fd00:1::7]:22", "to [2001:db8::1]:22"),
        ("root=LABEL=jane ro", "root=LABEL=REDACTED ro"),
        (
            "resume=/dev/disk/by-uuid/5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11",
            "resume=/dev/disk/by-uuid/00000000-0000-4000-8000-000000000001",
        ),
        (
            "BOOT_IMAGE=/43b1cb10c00d48b18061c67e6df40752/linux",
            f"BOOT_IMAGE=/{1:032x}/linux",
        ),
        ("get http://me:pw@srv.example/x", "get http://REDACTED"),
        ("mount me:pw@srv:/x", "mount REDACTED"),
    ],
)
def test_names_and_addresses(text: str, shown: str) -> None:
    assert ids(text) == shown
    assert ids(shown) == shown


def test_the_hosts_own_name() -> None:
    identifiers = Identifiers()
    identifiers.hide_host_names(["gpu-07.example.org", "linux"])
    assert identifiers.hidden("linux gpu-07 gpu-07.example.org gpu-077") == (
        "linux redacted-host redacted-host gpu-077"
    )
    assert identifiers.counts[Kind.NAME] == 2
