"""umockdev's text, line by line."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import umockdev
from gpu_passthrough_plugin.formats.umockdev import Device, Kind, Line

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


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"X: a=b", "'X: a=b': wanted a line that begins with one of P:, N:"),
        (b"nonsense", "'nonsense': wanted a line that begins"),
        (b"A: class", "'A: class': wanted KEY=VALUE"),
        (b"A: =x", "'A: =x': wanted KEY=VALUE"),
        (b"H: config=F41", "'H: config=F41': wanted pairs of hexadecimal"),
        (b"H: config=XX", "wanted pairs of hexadecimal digits"),
        (b"N: kvm=XX", "'N: kvm=XX': wanted NAME or NAME=HEX"),
        (b"A: a=b\\", "breaks off after a backslash"),
        (b"A: ../a=b", "wanted a path inside its device"),
        (b"L: a/../../b=c", "wanted a path inside its device"),
        (b"A: class=1", "is given twice for one device"),
        (b"E: PCI_ID=1", "is given twice for one device"),
    ],
)
def test_a_bad_line_is_named(line: bytes, wanted: str) -> None:
    text = TEXT.replace(b"A: modalias=", line, 1)
    (fault,) = faults(text)
    assert fault.startswith("host, line 8: ")
    assert wanted in fault


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


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"P: /class/a\nE: SUBSYSTEM=x\n\n", "wanted a path below /devices/"),
        (b"P: /devices/../a\nE: SUBSYSTEM=x\n\n", "a path below /devices/"),
        (b"P: /devices/a\nE: X=y\n\n", "has no line 'E: SUBSYSTEM='"),
        (b"E: A=b\n\n", "wanted a line 'P: /devices/…' first"),
        (TEXT[: TEXT.index(b"\n\n") + 2], "is there already, in line 1"),
        (b"P: /devices/a\nP: /devices/b\nE: SUBSYSTEM=x\n\n",
         "wanted an empty line before it"),
    ],
)  # fmt: skip
def test_a_bad_device_is_named(text: bytes, wanted: str) -> None:
    assert any(wanted in fault for fault in faults(TEXT + text))


@pytest.mark.parametrize("at", range(40, len(TEXT) - 1))
def test_a_cut_is_noticed_unless_between_devices(at: int) -> None:
    text = TEXT[:at]
    if text.endswith(b"\n\n"):
        assert umockdev.parse(text, "host")
        return
    assert "breaks off in" in faults(text)[-1]


@pytest.mark.parametrize(
    "data", [b"", b"\0\1\2", b"hello\n", b"P: /class/x\n", b"# P: /devices/"]
)
def test_something_else_is_no_recording(data: bytes) -> None:
    with pytest.raises(errors.ReadFailed, match="host is no recording: it"):
        umockdev.parse(data, "host")


def test_binary_lines_stay_binary() -> None:
    device = Device("/devices/a", (Line(Kind.BINARY, "a", b"text"),))
    assert b"H: a=74657874\n" in umockdev.printed([device])
