"""What reaches a terminal: no character that commands it."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import output
from gpu_passthrough_plugin.cli.main import is_help
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.formats import umockdev
from gpu_passthrough_plugin.formats.umockdev import Device, Kind, Line
from gpu_passthrough_plugin.host import report_archive
from tests.trees import recordings
from tests.trees.debian import debian12

# A colour, the C1 form of "clear the screen", a title, an override of the
# direction, and a byte that is no UTF-8.
EVIL = b"\x1b[31m\xc2\x9b2J\x1b]0;t\x07\xe2\x80\xae\x7f\xff"
_WORD = re.compile(rb"[A-Za-z][A-Za-z_./-]{3,}")

Change = Callable[[Device, Line], bytes]


def _word(line: Line) -> bytes:
    return _WORD.sub(lambda match: match[0] + EVIL, line.value)


def _of_drivers(_device: Device, line: Line) -> bytes:
    is_driver = line.key in ("driver", "module", "DRIVER")
    return line.value + EVIL if is_driver else line.value


def _of_the_host(device: Device, line: Line) -> bytes:
    is_text = device.path == recorded_tree.HOST and line.kind is Kind.ATTRIBUTE
    return _word(line) if is_text and "/" in line.key else line.value


def _of_devices(device: Device, line: Line) -> bytes:
    is_text = device.path != recorded_tree.HOST and line.kind is Kind.ATTRIBUTE
    return line.value.rstrip(b"\n") + EVIL if is_text else line.value


CHANGES: tuple[Change, ...] = (_of_drivers, _of_the_host, _of_devices)


def hostile(devices: tuple[Device, ...], change: Change) -> bytes:
    """A recording with ``EVIL`` in some of its texts."""
    return umockdev.printed(
        dataclasses.replace(
            device,
            lines=tuple(
                dataclasses.replace(line, value=change(device, line))
                for line in device.lines
            ),
        )
        for device in devices
    )


def hosts() -> Iterator[tuple[str, tuple[Device, ...]]]:
    for name in ("seed", "firmware-off", "shared-group"):
        data = recordings.path(name).read_bytes()
        yield name, umockdev.parse(data, name)
    yield "debian12", debian12().devices()


COMMANDS = (
    "device list",
    "device show {address}",
    "group list",
    "group show {group}",
    "topology",
    "host check",
    "host verify",
    "host enable --dry-run",
    "nova config",
    "nova check {nova}",
    "inventory sync",
)
"""Every command that reads a recording, and one that refuses it."""
_TREES = frozenset({"topology", "nova config", "inventory sync"})

_MAIN = """
import sys
from gpu_passthrough_plugin.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
# One process for all calls: starting one takes longer than a call.
_CODE = """
import contextlib, io, json, sys
from gpu_passthrough_plugin.cli.main import main
answers = []
for argv in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(argv)
    answers.append((out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""


def answers(calls: list[list[str]]) -> list[tuple[str, str]]:
    """What each call printed to stdout and to stderr."""
    done = subprocess.run(
        (sys.executable, "-c", _CODE),
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        check=True,
    )
    return [(out, err) for out, err in json.loads(done.stdout)]


def unprintable(text: str) -> str:
    plain = text.replace("\n", "").replace("\t", "")
    return "".join(c for c in plain if not c.isprintable())


def _configured(folder: Path) -> list[str]:
    config = folder / "gpu.conf"
    config.write_text(
        f"[DEFAULT]\nhost = h\nstate_path = {folder}\n"
        '[pci]\nalias = { "name": "gpu", "vendor_id": "10de" }\n'
    )
    return ["--config-file", str(config)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_hostile_recording_commands_no_terminal(
    change: Change, tmp_path: Path
) -> None:
    nova = tmp_path / "nova.conf"
    nova.write_bytes(b'[pci]\ndevice_spec = {"vendor_id": "10de' + EVIL)
    calls = []
    for name, devices in hosts():
        path = tmp_path / name
        path.write_bytes(hostile(devices, change))
        base = [*_configured(tmp_path), "--recording", str(path)]
        first = next(d for d in devices if "/0000:" in d.path)
        place = {
            "address": first.path.rpartition("/")[2],
            "group": "1",
            "nova": str(nova),
        }
        for command in COMMANDS:
            words = [word.format(**place) for word in command.split()]
            calls.append([*base, *words])
            if command not in _TREES:
                forms = ("json", "yaml", "csv", "value")
                calls += [[*base, *words, "-f", form] for form in forms]
    printed = answers(calls)
    seen = ""
    for call, (out, err) in zip(calls, printed, strict=True):
        assert unprintable(out + err) == "", (call, out, err)
        assert "Traceback" not in err, (call, err)
        seen += out
        if call[-1] == "json" and out:
            json.loads(out)
    # Strangers' text was printed.
    assert r"\x1b[31m\x9b2J" in seen
    assert r"\u001b[31m\u009b2J" in seen


def test_a_hostile_report_commands_no_terminal(tmp_path: Path) -> None:
    parts = {
        report_archive.RECORDING: hostile(debian12().devices(), _of_drivers),
        report_archive.LOG: (
            b"vfio-pci 0000:01:00.0: BAR 3: can't reserve " + EVIL + b"\n"
        ),
        report_archive.IMAGES: b'{"6": ["' + EVIL + b'vfio"]}',
        report_archive.ENABLEMENT: b'{"' + EVIL + b'": 1}',
    }
    calls = []
    for number in range(len(parts)):
        path = tmp_path / f"{number}.tar.zst"
        some = dict(list(parts.items())[: number + 1])
        path.write_bytes(report_archive.written(some))
        base = [*_configured(tmp_path), "host", "verify"]
        for form in ("table", "json", "value"):
            calls.append([*base, "--report", str(path), "-f", form])
    log = tmp_path / "guest.log"
    log.write_bytes(b"vfio-pci 0000:06:00.0: not ready" + EVIL + b"\n")
    calls.append(
        [
            *base,
            "--report",
            str(tmp_path / "0.tar.zst"),
            "--guest-log",
            str(log),
        ]
    )
    path = tmp_path / "no\x1b[31mreport\u202e"
    path.write_bytes(EVIL)
    calls.append([*base, "--report", str(path)])
    calls.append(["--recording", str(path), "group", "list"])
    for call, (out, err) in zip(calls, answers(calls), strict=True):
        assert unprintable(out + err) == "", (call, out, err)
        assert "Traceback" not in err, (call, err)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\tb\n", "a\tb\n"),
        ("\x1b[0m\r\n", "\\x1b[0m\\r\n"),
        ('{"a": "\x7f"}\n', '{"a": "\\u007f"}\n'),
    ],
)
def test_a_stream_escapes(text: str, written: str) -> None:
    below = io.StringIO()
    print(text, end="", file=output.PrintableStream(below))
    output.PrintableStream(below).writelines([text])
    assert below.getvalue() == written * 2


# A process of its own: how records of logs are made is changed for good.
_HIDING = """
import logging, sys
from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import output
output.hide(frozenset({"s3cretpw"}))
logging.basicConfig(level=logging.DEBUG)
log = logging.getLogger("library")
log.debug("%d items of s3cretpw", "x")
try:
    raise ValueError("s3cretpw")
except ValueError:
    log.exception("of %s", "s3cretpw")

def act():
    raise RuntimeError("cannot use mysql://u:s3cretpw@db")

for is_debug in (False, True):
    assert output.run(act, is_debug=is_debug) == 2
output.print_error("refused: s3cretpw")
"""


def test_nothing_that_is_said_has_a_secret() -> None:
    done = subprocess.run(
        (sys.executable, "-c", _HIDING),
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout + done.stderr
    assert "s3cretpw" not in said
    assert "items of ***" in said and "ValueError: ***" in said
    assert said.count("cannot use mysql://u:***@db") == 3


@pytest.mark.parametrize(
    ("user", "cause", "is_roots"),
    [
        (65534, PermissionError(13, "Permission denied"), True),
        (65534, ValueError("attempt to write a readonly database"), True),
        (65534, FileNotFoundError(2, "No such file"), False),
        (0, PermissionError(13, "Permission denied"), False),
    ],
)
def test_what_only_root_can_do_is_said(
    user: int,
    cause: Exception,
    is_roots: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The ledger's own text may not name the reason; its cause does."""
    monkeypatch.setattr("os.geteuid", lambda: user)

    def act() -> int:
        raise errors.Unavailable("the ledger does not answer") from cause

    assert output.run(act) == 2
    line = capsys.readouterr().err
    assert line.startswith("gpu-passthrough: the ledger does not answer")
    assert ("run it with sudo" in line) is is_roots


def test_a_value_is_as_wide_as_it_is_printed() -> None:
    assert output.lines("a\nb\x1b") == ["a", r"b\x1b"]
    assert output.lines(("a\n", "\x9b")) == [r"a\n", r"\x9b"]
    assert output.flat(("a\nb", "c")) == r"a\nb,c"
    assert output.plain(("\x1b", 1)) == ["\x1b", 1]


@pytest.mark.parametrize(
    "words",
    [
        ["device", "show", "help"],
        ["device", "show", "--", "--help"],
        ["--recording", "FILE", "help", "device"],
    ],
)
def test_an_argument_that_is_no_call_for_help(words: list[str]) -> None:
    assert not is_help(words)


@pytest.mark.parametrize(
    "words", [[], ["help", "device"], ["host", "check", "-h"]]
)
def test_help_has_its_colours(words: list[str]) -> None:
    assert is_help(words)


def test_help_is_printed_in_colours() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        subprocess.run(
            (sys.executable, "-c", _MAIN, "host", "check", "--help"),
            stdin=terminal,
            stdout=terminal,
            env={"PAGER": "cat", "TERM": "xterm"},
            check=True,
        )
        printed = os.read(ours, 1024)
    os.close(ours)
    assert b"\x1b[" in printed
    assert rb"\x1b" not in printed


def test_an_error_that_nobody_expected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> int:
        raise KeyError("a\nb")

    for is_debug in (False, True):
        assert output.run(fail, is_debug=is_debug) == 2
        *trace, line = capsys.readouterr().err.splitlines()
        assert "KeyError" in line
        assert line.startswith("gpu-passthrough: ")
        assert bool(trace) is is_debug
