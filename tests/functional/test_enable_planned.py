"""``host enable --dry-run`` on recorded hosts of many systems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin.cli import main
from tests.trees import boot, installed
from tests.trees.host import Host
from tests.trees.systems import SYSTEMS

# Where an early script cannot run, and what is said of it.
NO_ADDRESS = {
    "arch": "systemd",
    "arch-grub": "systemd",
    "silverblue": "read-only",
}


def planned(
    tmp_path: Path, host: Host, *options: str
) -> tuple[int, list[str]]:
    """The call's status, and the words of it."""
    path = tmp_path / "host.umockdev"
    path.write_bytes(installed.recorded(host.tree()))
    argv = ["--recording", str(path), "host", "enable", "--dry-run"]
    return main.main([*argv, *options]), argv


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("binding", ["address", "ids"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_plan(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    binding: str,
) -> None:
    status, _ = planned(
        tmp_path, SYSTEMS[name](), "--binding", binding, "-f", "json"
    )
    if binding == "address" and name in NO_ADDRESS:
        said = capsys.readouterr().err
        assert status == 1
        assert NO_ADDRESS[name] in said
        assert "--binding ids" in said
        return
    assert status == 0
    found = rows(capsys)
    assert {row["Action"] for row in found} > {"create"}
    steps = [row["Step"] for row in found]
    assert "load vfio at boot" in steps
    assert not any(boot.RESCUE in row["Target"] for row in found)
    # What the kernel is told comes last, when all that it needs is there.
    assert "kernel arguments" in steps or "boot menu" in steps


def test_what_is_kept_and_what_is_written_is_shown_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = SYSTEMS["centos7"]()
    status, _ = planned(tmp_path, host, "--binding", "ids", "-f", "json")
    said = capsys.readouterr().err.splitlines()
    assert status == 0
    assert any(ln.startswith("skipped: 0000:03:00.0 ") for ln in said)
    assert (
        "grub2: /usr/sbin/grub2-mkconfig and /etc/default/grub"
        in "\n".join(said)
    )
    assert "+++ /etc/modprobe.d/gpu-passthrough.conf" in said
    assert "+options vfio-pci ids=10de:24b0,10de:228b" in said


def test_a_recording_is_not_enabled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "host.umockdev"
    path.write_bytes(installed.recorded(SYSTEMS["debian12"]().tree()))
    for words in (["enable"], ["disable"], ["disable", "--dry-run"]):
        assert main.main(["--recording", str(path), "host", *words]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert f"--recording {path}" in said[0]


@pytest.mark.parametrize(
    ("options", "status", "fact"),
    [
        (("--select", "0000:7f:00.0"), 1, "0000:7f:00.0"),
        (("--select", "gpu"), 2, "'gpu'"),
        (("--binding", "magic"), 2, "address, ids"),
        (("--blacklist", "ast"), 1, "0000:03:00.0"),
        (("--blacklist", "nvme"), 1, "needs 0000:01:00.0 for mount / "),
        (("--blacklist", "tg3"), 1, "for default route (eno1)"),
        (("--select", "0000:01:00.0"), 1, "for mount / "),
        (("--select", "0000:02:00.0"), 1, "for default route (eno1)"),
        (("--select", "0000:03:00.0"), 1, "BMC display"),
    ],
)
def test_what_is_refused_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    status: int,
    fact: str,
) -> None:
    gave, _ = planned(tmp_path, SYSTEMS["debian12"](), *options)
    captured = capsys.readouterr()
    assert gave == status, captured.err
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert fact in line


def test_every_name_that_cannot_be_blacklisted_has_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("vfio-pci", "/", "a b", "x\ninstall nvme /bin/sh")
    options = [word for name in names for word in ("--blacklist", name)]
    status, _ = planned(tmp_path, SYSTEMS["debian12"](), *options)
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    lines = captured.err.splitlines()
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        assert f"blacklist {name!r}" in line
