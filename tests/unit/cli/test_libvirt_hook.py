"""The hook's program, called as its script calls it: who may be refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.isolation import selection
from tests.trees.seed import seed
from tests.unit.formats.test_host_devices import domain

GPU = "0000:06:00.0"
UUID = "<uuid>5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11</uuid>"
WITH_PCI = domain(rest=UUID)
USB = domain(
    "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1050'/>"
    "<product id='0x0407'/></source><alias name='hostdev0'/></hostdev>",
    rest=UUID,
)
# Everything else that libvirt tells a hook. Source: libvirt, hooks.html.
RUNNING = (
    *("start", "started", "stopped", "release", "reconnect"),
    *("migrate", "restore", "attach"),
)


def call(
    *words: str | bytes, text: str | bytes = WITH_PCI, stderr: str = ""
) -> subprocess.CompletedProcess[str]:
    """How the program ended.

    :param stderr: a redirection of the shell's.
    """
    program = ("sh", "-c", f'exec "$@" {stderr}', "sh", sys.executable)
    done = subprocess.run(
        (*program, "-m", script.MODULE, *words),
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        timeout=60,
        check=False,
    )
    assert done.stdout == b""
    return subprocess.CompletedProcess(
        done.args, done.returncode, "", done.stderr.decode()
    )


def broken(folder: Path, how: str) -> tuple[str, ...]:
    """Options of a host whose guests with PCI functions cannot be checked."""
    root, config = folder / "root", folder / "gpu.conf"
    seed().write(root)
    lines = {
        "no file": None,
        "no INI": "[[[\n",
        "no such option value": "[hook]\nmode = half\n",
        "no driver": "[allocation]\ndriver = none\n",
        "no ledger": "",
        "ledger that cannot be opened": (
            f"[database]\nconnection = sqlite:///{folder}/none/l.sqlite\n"
        ),
        "ledger that is none": "[database]\nconnection = nonsense://\n",
        "no selection": "",
    }[how]
    if how == "no selection":
        selected = root / selection.PATH[1:]
        selected.parent.mkdir(parents=True, exist_ok=True)
        selected.write_text("[discovery]\nselect = nvidia\n")
    if lines is not None:
        state = f"[DEFAULT]\nhost = h\nstate_path = {folder}/state\n"
        config.write_text(state + lines)
    return ("--root", str(root), "--config-file", str(config), "--")


BROKEN = (
    *("no file", "no INI", "no such option value", "no driver"),
    *("no ledger", "ledger that cannot be opened", "ledger that is none"),
    "no selection",
)


@pytest.mark.parametrize("how", BROKEN)
def test_only_a_start_with_pci_functions_is_refused(
    tmp_path: Path, how: str
) -> None:
    options = broken(tmp_path, how)
    done = call(*options, "g", "prepare", "begin", "-")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "domain g" in done.stderr
    for operation in ("release", "reconnect"):
        done = call(*options, "g", operation, "begin", "-")
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    for text in (USB, domain("")):
        done = call(*options, "g", "prepare", "begin", "-", text=text)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("operation", RUNNING)
def test_no_other_step_is_ever_refused(tmp_path: Path, operation: str) -> None:
    options = broken(tmp_path, "no file")
    done = call(*options, "g", operation, "end", "-")
    assert done.returncode == 0
    assert str(tmp_path / "gpu.conf") in done.stderr


@pytest.mark.parametrize(
    "text", [b"", b"<domain", WITH_PCI.encode("utf-16"), b"\0" * 99]
)
def test_what_is_no_xml_stops_no_running_guest(text: bytes) -> None:
    done = call("--", "g", "reconnect", "begin", "-", text=text)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("g", "{}", "begin", "-"),
        ("--config-file", "--", "g", "{}", "begin", "-"),
        ("--config-file", "/x", "g", "{}", "begin", "-"),
    ],
)
def test_a_malformed_call_is_answered_in_one_line(
    words: tuple[str, ...],
) -> None:
    for operation, status in (("prepare", 1), ("release", 0)):
        done = call(*(word.format(operation) for word in words))
        assert (done.returncode, done.stderr.count("\n")) == (status, 1)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [(), ("--",), ("--", "g")])
def test_a_call_without_an_operation_stops_nothing(
    words: tuple[str, ...],
) -> None:
    done = call(*words)
    assert done.returncode == 0
    assert "OPTIONS -- NAME OPERATION" in done.stderr


@pytest.mark.parametrize("stderr", ["", "2>&-", "2>/dev/full"])
def test_a_message_that_cannot_be_printed_stops_nothing(
    tmp_path: Path, stderr: str
) -> None:
    options = broken(tmp_path, "no file")
    name = b"M\xfcller\x1b[2J"
    for operation, status in (("prepare", 1), ("release", 0)):
        done = call(*options, name, operation, "begin", "-", stderr=stderr)
        assert done.returncode == status
        assert "\x1b" not in done.stderr


def test_a_configuration_that_hangs_does_not_hold_libvirt(
    tmp_path: Path,
) -> None:
    config = tmp_path / "gpu.conf"
    os.mkfifo(config)
    code = (
        "from gpu_passthrough_plugin.cli import libvirt_hook\n"
        "libvirt_hook._START_LIMIT_S = 1\n"
        "libvirt_hook.run()\n"
    )
    done = subprocess.run(
        (
            *(sys.executable, "-c", code, "--config-file", str(config)),
            *("--", "guest", "release", "end", "-"),
        ),
        input=WITH_PCI.encode(),
        timeout=20,
        check=False,
    )
    assert done.returncode == -signal.SIGALRM


def test_the_hook_reads_the_hosts_own_selection(tmp_path: Path) -> None:
    """A function that is not selected needs no unit."""
    root, config = tmp_path / "root", tmp_path / "gpu.conf"
    seed().write(root)
    config.write_text(
        f"[DEFAULT]\nhost = h\nstate_path = {tmp_path}/state\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/ledger.sqlite\n"
    )
    options = ("--root", str(root), "--config-file", str(config))
    assert main.main(["--config-file", str(config), "db", "sync"]) == 0
    refused = call(*options, "--", "g", "prepare", "begin", "-")
    assert refused.returncode == 1
    assert f"{GPU} of IOMMU group 18 is selected" in refused.stderr
    selected = root / selection.PATH[1:]
    selected.parent.mkdir(parents=True, exist_ok=True)
    selected.write_text("[discovery]\nselect = 0000:82:00.0\n")
    done = call(*options, "--", "g", "prepare", "begin", "-")
    assert "is selected" not in done.stderr
