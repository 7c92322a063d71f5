"""Our recordings are umockdev's, and umockdev's are ours."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.formats import umockdev
from gpu_passthrough_plugin.formats.umockdev import Device, Kind, Line
from gpu_passthrough_plugin.model.reading import known

RECORDINGS = sorted(
    (Path(__file__).parents[1] / "recordings").glob("*.umockdev")
)


def listed(path: str) -> list[str]:
    """What lspci shows of a recording that umockdev replays."""
    done = subprocess.run(
        ("umockdev-run", "-d", path, "--", "lspci", "-Dn"),
        capture_output=True,
        text=True,
        check=True,
    )
    return [" ".join(line.split()[:3]) for line in done.stdout.splitlines()]


def shown(path: str) -> list[str]:
    """The same, as discovery reads it."""
    lines = []
    for found in discovery.functions(recorded_tree.load(path)):
        code = known(found.class_code)
        vendor, product = known(found.vendor_id), known(found.product_id)
        assert code is not None
        lines.append(
            f"{found.address} {code >> 8:04x}: {vendor:04x}:{product:04x}"
        )
    return lines


@pytest.mark.parametrize("path", [recorded_tree.SEED, *map(str, RECORDINGS)])
def test_umockdev_replays_what_we_wrote(path: str) -> None:
    assert listed(path) == shown(path)


def test_we_read_what_umockdev_wrote(tmp_path: Path) -> None:
    """This very machine, whatever it has."""
    path = tmp_path / "host.umockdev"
    written = subprocess.run(
        ("umockdev-record", "--all"), capture_output=True, check=True
    )
    path.write_bytes(written.stdout)
    here = subprocess.run(
        ("lspci", "-Dn"), capture_output=True, text=True, check=True
    )
    wanted = [" ".join(line.split()[:3]) for line in here.stdout.splitlines()]
    assert shown(str(path)) == wanted


# Runs under umockdev: what it makes of a recording, as its own files.
_READ = """
import json, os, sys
for path in json.load(sys.stdin):
    if os.path.islink(path):
        print(json.dumps(os.readlink(path)))
    else:
        with open(path, "rb") as file:
            print(json.dumps(file.read().hex()))
"""


def _drawn(seed: int) -> list[Device]:
    """Devices with attributes of any bytes, links and properties."""
    drawn = random.Random(seed)  # noqa: S311 - a test input
    devices = []
    for number in range(4):
        lines = [Line(Kind.PROPERTY, "SUBSYSTEM", b"pci")]
        for key in range(6):
            kind = drawn.choice([Kind.ATTRIBUTE, Kind.BINARY])
            data = drawn.choice(
                [
                    drawn.randbytes(drawn.randrange(40)),
                    bytes(
                        drawn.choices(b'\\"\t\n\r\f\v\b 0123789ab\xff', k=20)
                    ),
                ]
            )
            # umockdev ends an attribute at its first null, and no file of
            # the kernel's that is text has one: record writes H: lines.
            if kind is Kind.ATTRIBUTE:
                data = data.replace(b"\0", b"")
            lines.append(Line(kind, f"key{key}", data))
        lines.append(Line(Kind.PROPERTY, "X", b'any "text" \\ = it is'))
        lines.append(Line(Kind.LINK, "driver", b"../../bus/pci/drivers/x"))
        devices.append(
            Device(f"/devices/pci0000:00/0000:00:0{number}.0", tuple(lines))
        )
    return devices


@pytest.mark.parametrize("seed", range(8))
def test_any_contents_are_what_umockdev_makes_of_them(
    tmp_path: Path, seed: int
) -> None:
    devices = _drawn(seed)
    path = tmp_path / "drawn.umockdev"
    path.write_bytes(umockdev.printed(devices))
    tree = recorded_tree.load(str(path))
    files = sorted(
        f"{device.path}/{line.key}"
        for device in devices
        for line in device.lines
        if line.kind in (Kind.ATTRIBUTE, Kind.BINARY, Kind.LINK)
    )
    files += [f"{device.path}/uevent" for device in devices]
    done = subprocess.run(
        ("umockdev-run", "-d", str(path), "--", sys.executable, "-c", _READ),
        input=json.dumps([f"/sys{file}" for file in files]),
        capture_output=True,
        text=True,
        check=True,
    )
    made = dict(
        zip(files, map(json.loads, done.stdout.splitlines()), strict=True)
    )
    for file, contents in made.items():
        link = tree.link(f"sys{file}")
        if isinstance(link, str):
            assert contents == link
            continue
        data = tree.read(f"sys{file}")
        assert isinstance(data, bytes)
        if file.endswith("/uevent"):
            lines = bytes.fromhex(contents).splitlines()
            assert sorted(lines) == sorted(data.splitlines())
        else:
            assert bytes.fromhex(contents) == data, file


def test_the_last_device_needs_no_empty_line(tmp_path: Path) -> None:
    """As umockdev takes it; a last line without its end, only umockdev."""
    path = tmp_path / "host.umockdev"
    text = RECORDINGS[0].read_bytes().split(b"\n\n", 1)[1]
    path.write_bytes(text[:-1])
    assert listed(str(path)) == shown(str(path)) != []
    assert recorded_tree.load(str(path)).warnings
    path.write_bytes(text[:-2])
    with pytest.raises(errors.Faults, match="copy the whole file"):
        recorded_tree.load(str(path))
