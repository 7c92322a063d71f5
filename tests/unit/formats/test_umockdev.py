"""umockdev's text, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import umockdev
from gpu_passthrough_plugin.formats.umockdev import Device, Kind, Line
from gpu_passthrough_plugin.model import budget
from tests.golden import assert_golden, sections

# What umockdev-record 0.17 writes, shortened.
TEXT = rb"""P: /devices/pci0000:00/0000:00:01.0
E: PCI_ID=1AF4:1045
E: SUBSYSTEM=pci
A: class=0xffff00\n
H: config=F41A4510
L: driver=../../../bus/pci/drivers/virtio-pci
A: label=a \"b\"\\c\t\303\251\000
A: modalias=
A: msi_irqs/28=msix\n

P: /devices/virtual/misc/kvm
N: kvm
S: virtual machines
E: DEVNAME=/dev/kvm
E: SUBSYSTEM=misc

P: /devices/usb1/1-1
N: bus/usb/001/001=0A0B
E: SUBSYSTEM=usb

"""


def test_reads_what_umockdev_writes() -> None:
    pci, kvm, usb = umockdev.parse(TEXT, "host")
    assert pci.path == "/devices/pci0000:00/0000:00:01.0"
    assert pci.values(Kind.PROPERTY) == {
        "PCI_ID": b"1AF4:1045",
        "SUBSYSTEM": b"pci",
    }
    assert pci.values(Kind.ATTRIBUTE) == {
        "class": b"0xffff00\n",
        "label": b'a "b"\\c\t\xc3\xa9\0',
        "modalias": b"",
        "msi_irqs/28": b"msix\n",
    }
    assert pci.values(Kind.BINARY) == {"config": b"\xf4\x1a\x45\x10"}
    assert kvm.lines[:2] == (
        Line(Kind.NODE, "", b"kvm"),
        Line(Kind.SYMLINK, "", b"virtual machines"),
    )
    assert usb.lines[0] == Line(Kind.NODE, "", b"bus/usb/001/001=0A0B")


def test_prints_it_back() -> None:
    assert umockdev.printed(umockdev.parse(TEXT, "host")) == TEXT


def test_empty_lines_may_be_many() -> None:
    assert umockdev.parse(TEXT.replace(b"\n\n", b"\n\n\n"), "host") == (
        umockdev.parse(TEXT, "host")
    )


def test_unusual_escapes_are_read_as_glib_does() -> None:
    text = rb"P: /devices/a" + b"\nE: SUBSYSTEM=x\n"
    text += rb"A: a=\b\f\v\r\7\078\q\"" + b"\n\n"
    (device,) = umockdev.parse(text, "host")
    assert device.values(Kind.ATTRIBUTE) == {"a": b'\b\f\v\r\7\x078q"'}


def faults(text: bytes) -> tuple[str, ...]:
    with pytest.raises(errors.Faults) as caught:
        umockdev.parse(text, "host")
    assert "\n" not in str(caught.value)
    return caught.value.faults


BAD_LINES = (
    b"X: a=b", b"nonsense", b"A: class", b"A: =x", b"H: config=F41",
    b"H: config=XX", b"N: kvm=XX", b"A: a=b\\", b"A: ../a=b",
    b"L: a/../../b=c", b"A: class=1", b"E: PCI_ID=1",
)  # fmt: skip
BAD_DEVICES = (
    b"P: /class/a\nE: SUBSYSTEM=x\n\n",
    b"P: /devices/../a\nE: SUBSYSTEM=x\n\n",
    b"P: /devices/a\nE: X=y\n\n",
    b"E: A=b\n\n",
    TEXT[: TEXT.index(b"\n\n") + 2],
    b"P: /devices/a\nP: /devices/b\nE: SUBSYSTEM=x\n\n",
)
NO_RECORDINGS = (
    b"",
    b"\0\1\2",
    b"hello\n",
    b"P: /class/x\n",
    b"# P: /devices/",
)


def with_line(line: bytes) -> bytes:
    return TEXT.replace(b"A: modalias=", line, 1)


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named(line: bytes) -> None:
    (fault,) = faults(with_line(line))
    assert fault.startswith(f"host, line 8: {line.decode()!r}: ")


def test_all_faults_come_together() -> None:
    text = TEXT.replace(b"A: modalias=", b"x").replace(b"N: kvm", b"y")
    assert [fault.partition(":")[0] for fault in faults(text)] == [
        "host, line 8",
        "host, line 12",
    ]


def test_very_many_faults_are_counted() -> None:
    found = faults(TEXT + b"x\n" * 100 + b"\n")
    assert len(found) == 21
    assert found[-1] == "and 80 more"


@pytest.mark.parametrize("text", BAD_DEVICES)
def test_a_bad_device_is_named(text: bytes) -> None:
    first = TEXT.count(b"\n") + 1
    lines = [
        int(f.split(":")[0].rpartition(" ")[2]) for f in faults(TEXT + text)
    ]
    assert lines
    assert all(number >= first for number in lines)


def test_a_cut_within_a_line_is_noticed() -> None:
    for at in range(40, len(TEXT) - 1):
        text = TEXT[:at]
        if not text.endswith(b"\n"):
            number = text.count(b"\n") + 1
            assert faults(text)[0].startswith(f"host, line {number}: "), at


def test_the_last_device_needs_no_empty_line() -> None:
    """umockdev takes it.  Source: martinpitt/umockdev#155."""
    recording = umockdev.read(TEXT[:-1], "host")
    assert recording.devices == umockdev.parse(TEXT, "host")
    assert recording.unclosed == "/devices/usb1/1-1"
    (warning,) = recording.warnings
    assert "/devices/usb1/1-1" in warning
    assert umockdev.read(TEXT, "host").warnings == ()


def test_an_export_of_udevadm_is_read() -> None:
    """cockpit-project/cockpit#15631: L: and others, Windows' line ends."""
    text = b"""P: /devices/pci0000:00/0000:00:1c.0
M: 0000:00:1c.0
L: 0
E: SUBSYSTEM=pci
E: PCI_CLASS=60400


P: /devices/pci0000:00/0000:00:1d.0
L: -100
E: SUBSYSTEM=pci
"""
    for data in (text, text.replace(b"\n", b"\r\n")):
        recording = umockdev.read(data, "export")
        assert [d.path[-7:] for d in recording.devices] == [
            "00:1c.0",
            "00:1d.0",
        ]
        assert recording.devices[0].values(Kind.PROPERTY) == {
            "SUBSYSTEM": b"pci",
            "PCI_CLASS": b"60400",
        }
        assert "line 2" in recording.warnings[-1]
        is_of_windows = b"\r" in data
        assert len(recording.warnings) == 2 + is_of_windows
        assert ("CR LF" in recording.warnings[0]) is is_of_windows
        assert recording.unclosed.endswith("0000:00:1d.0")


def test_what_is_longer_than_any_hosts_is_refused() -> None:
    device = b"P: /devices/a\nE: SUBSYSTEM=x\n"
    for line in (
        b"A: " + b"a/" * 65 + b"a=b",
        b"A: " + b"a" * 4097 + b"=b",
        b"L: a=" + b"x" * 4097,
    ):
        (fault,) = faults(device + line + b"\n\n")
        assert fault.startswith("host, line 3: ")
    assert len(faults(b"P: /devices/" + b"a/" * 500_000 + b"\n\n")) == 2
    with pytest.raises(errors.ReadFailed, match=r"at most \d+"):
        umockdev.parse(device + b"\n" * (budget.MAX_LINES + 1), "host")


@pytest.mark.parametrize("data", NO_RECORDINGS)
def test_something_else_is_not_a_recording(data: bytes) -> None:
    with pytest.raises(errors.ReadFailed, match=r"^host "):
        umockdev.parse(data, "host")


def of_udevadm(count: int) -> tuple[str, ...]:
    ignored = b"".join(b"L: %d\n" % number for number in range(count))
    text = b"P: /devices/a\n" + ignored + b"E: SUBSYSTEM=x\n\n"
    return umockdev.read(text, "udevadm").warnings


def test_messages() -> None:
    texts = (
        *(with_line(line) for line in BAD_LINES),
        *(TEXT + device for device in BAD_DEVICES),
        TEXT[:-2],
        TEXT[:50],
    )
    found = {"faults": [line for text in texts for line in faults(text)]}
    found["no recording"] = []
    for data in (NO_RECORDINGS[2], b"", b"\x28\xb5\x2f\xfd a report"):
        with pytest.raises(errors.ReadFailed) as caught:
            umockdev.parse(data, "host")
        found["no recording"].append(str(caught.value))
    found["warnings"] = [
        *umockdev.read(TEXT.replace(b"\n", b"\r\n"), "host").warnings,
        *umockdev.read(
            TEXT + b"P: /devices/z\nE: SUBSYSTEM=z\n", "z"
        ).warnings,
        *of_udevadm(1),
        *of_udevadm(2),
    ]
    assert_golden(
        Path(__file__).with_name("umockdev_messages.txt"), sections(found)
    )


def test_binary_lines_stay_binary() -> None:
    device = Device("/devices/a", (Line(Kind.BINARY, "a", b"text"),))
    assert b"H: a=74657874\n" in umockdev.printed([device])
