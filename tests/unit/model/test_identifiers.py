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
        ("Serial Number: WD-123 x", "Serial Number: REDACTED-1 x"),
        ("SerialNumber: WD-123", "SerialNumber: REDACTED-1"),
        ('"serial number": "WD-1"', '"serial number": "REDACTED-1"'),
        ("S/N WD-123", "S/N REDACTED-1"),
        ("SN: 0324716008837", "SN: REDACTED-1"),
        (
            "/dev/disk/by-id/ata-WDC_WD-1-part2 ro",
            "/dev/disk/by-id/REDACTED-1-part2 ro",
        ),
        ("wwn-0x5000c500a1b2c3d4-part1", "REDACTED-1-part1"),
        ("from 198.51.100.7:3260", "from 192.0.2.1:3260"),
        ("to [fd00:1::7]:22", "to [2001:db8::1]:22"),
        ("root=LABEL=jane ro", "root=LABEL=REDACTED-1 ro"),
        (
            "resume=/dev/disk/by-uuid/5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11",
            "resume=/dev/disk/by-uuid/00000000-0000-4000-8000-000000000001",
        ),
        (
            "BOOT_IMAGE=/43b1cb10c00d48b18061c67e6df40752/linux",
            f"BOOT_IMAGE=/{1:032x}/linux",
        ),
        (
            "/dev/disk/by-path/ip-10.7.0.5:3260-iscsi-iqn.2001-05.com.x:d-lun-0",
            "/dev/disk/by-path/REDACTED-1-lun-0",
        ),
        (
            "by-path/pci-0000:3b:00.0-fc-0x5006016041e0abcd-lun-1",
            "by-path/pci-0000:3b:00.0-fc-0x0000000000000001-lun-1",
        ),
        ("by-path/pci-0000:00:17.0-ata-1", "by-path/pci-0000:00:17.0-ata-1"),
        ("target iqn.2001-05.com.x:d-1 up", "target REDACTED-1 up"),
        (
            "nqn.2014-08.org.nvmexpress:uuid:43b1cb10-c00d",
            "REDACTED-1",
        ),
        ("eui.0025385b01412345", "REDACTED-1"),
        ("nvme.144d-53344e584e46-53414d-00000001", "REDACTED-1"),
        (
            "mpath-3600508b400105e210000900000490000p1",
            f"mpath-3{1:032x}p1",
        ),
        ("asked fd00:7::1.", "asked 2001:db8::1."),
        ("fd00:7::1: timeout", "2001:db8::1: timeout"),
        ("inet6 addr:fd00:7::1/64", "inet6 addr:2001:db8::1/64"),
        ("via ::ffff:10.7.0.1", "via 2001:db8::2"),
        ("10.7.0.1-10.7.0.9", "192.0.2.1-192.0.2.2"),
        ("node ip-10-7-0-5 up", "node ip-192-0-2-1 up"),
        (
            "0 9 crypt aes-xts-plain64 babebabebabebabebabebabebabebabe 0 8:1",
            "0 9 crypt aes-xts-plain64 REDACTED 0 8:1",
        ),
        (
            "crypt capi:xts(aes)-plain64 :32:logon:me 0 8:1",
            "crypt capi:xts(aes)-plain64 REDACTED 0 8:1",
        ),
        ("ID_SERIAL_SHORT=S4EWNX", "ID_SERIAL_SHORT=REDACTED-1"),
        ('"serial": "S4EWNX"', '"serial": "REDACTED-1"'),
        ("drive_serial=S4EWNX ro", "drive_serial=REDACTED-1 ro"),
        ("root=PARTLABEL=jane ro", "root=PARTLABEL=REDACTED-1 ro"),
        ("root=LABEL='jane' ro", "root=LABEL='REDACTED-1' ro"),
        ('LABEL="my disk" ro', 'LABEL="REDACTED-1" ro'),
        (
            "/dev/disk/by-label/my\\x20disk ro",
            "/dev/disk/by-label/REDACTED-1 ro",
        ),
        ("root=UUID=AB12-CD34 ro", "root=UUID=0000-0001 ro"),
        ("root=PARTUUID=a1b2c3d4-02 ro", "root=PARTUUID=00000001-02 ro"),
        (
            "/dev/disk/by-partuuid/a1b2c3d4-02",
            "/dev/disk/by-partuuid/00000001-02",
        ),
        ("by-uuid/A1B2C3D4E5F60718", "by-uuid/A1B2C3D4E5F60718"),
        ("/by-uuid/A1B2C3D4E5F60718", f"/by-uuid/{1:016x}"),
        (
            "rd.md.uuid=a1b2c3d4:e5f60718:a1b2c3d4:e5f60718",
            "rd.md.uuid=00000000:00000000:00000000:00000001",
        ),
        (
            "search --no-floppy --fs-uuid --set=root AB12-CD34",
            "search --no-floppy --fs-uuid --set=root 0000-0001",
        ),
        (
            "search --label --set=root jane",
            "search --label --set=root REDACTED-1",
        ),
        (
            "search -n -l jane -s root --hint hd0,gpt2",
            "search -n -l REDACTED-1 -s root --hint hd0,gpt2",
        ),
        ("search -u -s root AB12-CD34", "search -u -s root 0000-0001"),
        ("search.fs_label jane root", "search.fs_label REDACTED-1 root"),
        ("search.fs_uuid AB12-CD34 root", "search.fs_uuid 0000-0001 root"),
        ("search --file /boot/x", "search --file /boot/x"),
        ("get http://me:pw@srv.example/x", "get http://REDACTED"),
        ("mount me:pw@srv:/x", "mount REDACTED"),
    ],
)
def test_names_and_addresses(text: str, shown: str) -> None:
    assert ids(text) == shown
    assert ids(shown) == shown


def test_many_values_have_as_many_stand_ins() -> None:
    identifiers = Identifiers()
    texts = {
        f"10.{n >> 8}.{n & 255}.7 a0:00:00:00:{n >> 8:02x}:{n & 255:02x}"
        f" LABEL=d{n} S/N w{n}"
        for n in range(700)
    }
    shown = {text: identifiers.hidden(text) for text in texts}
    for place in (0, 1, 2, 4):
        assert len({line.split()[place] for line in shown.values()}) == 700
    for text, line in shown.items():
        assert identifiers.hidden(text) == line
        assert Identifiers().hidden(line) == line


def test_a_recordings_config_space_is_no_id() -> None:
    """Between capital digits, 32 of them looked like a machine's id."""
    text = f"H: config=01F{'80000000' * 4}B8{'0' * 40}"
    assert ids(text) == text


def test_a_pools_name_is_that_of_its_mounts() -> None:
    text = "E:ID_FS_LABEL=rpool"
    assert ids(text) == text


def test_the_hosts_own_name() -> None:
    identifiers = Identifiers()
    identifiers.hide_host_names(["gpu-07.example.org", "linux"])
    assert identifiers.hidden("linux gpu-07 gpu-07.example.org gpu-077") == (
        "linux redacted-host redacted-host gpu-077"
    )
    assert identifiers.counts[Kind.NAME] == 2
