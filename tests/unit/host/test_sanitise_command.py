"""The operator's command, as small shell scripts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.commands import environment
from gpu_passthrough_plugin.host.sanitise_command import (
    SanitiseCommand,
    variables,
)
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.instance import NamedInstance
from gpu_passthrough_plugin.model.sanitising import (
    SanitiseSettings,
    SanitiseTarget,
)

TARGET = SanitiseTarget(
    "h",
    (address.parse("06:00.0"), address.parse("06:00.1")),
    18,
    0x10DE,
    0x1430,
    NamedInstance("5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11", "guest"),
    "",
)


def wiping(argv: tuple[str, ...], timeout_s: float) -> SanitiseCommand:
    return SanitiseCommand(SanitiseSettings(argv, timeout_s))


def script(folder: Path, text: str) -> str:
    path = folder / "wipe"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def failed(command: SanitiseCommand) -> str:
    with pytest.raises(errors.Unavailable) as caught:
        command.sanitise(TARGET)
    text = str(caught.value)
    assert "\n" not in text and "sanitise_command" in text
    return text


def test_it_gets_its_arguments_and_variables_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    program = script(
        tmp_path, f'printf "%s\\n" "$@" >{tmp_path}/args; env >{tmp_path}/env'
    )
    command = wiping((program, "a b", "$HOME;"), 20)
    command.sanitise(TARGET)
    assert command.title == program
    assert (tmp_path / "args").read_text() == "a b\n$HOME;\n"
    lines = (tmp_path / "env").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines}
    own = {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names - own == {*environment(), *variables(TARGET)}


def test_how_it_fails(tmp_path: Path) -> None:
    program = script(tmp_path, "echo a; printf 'b\\033[1m' >&2; exit 3")
    assert "exit status 3: a b\\x1b[1m" in failed(wiping((program,), 20))
    program = script(tmp_path, "kill -9 $$")
    assert "signal 9: no output" in failed(wiping((program,), 20))
    missing = wiping((str(tmp_path / "none"),), 20)
    assert "cannot run it" in failed(missing)


def test_it_is_killed_with_what_it_started(tmp_path: Path) -> None:
    program = script(tmp_path, "sleep 60 & sleep 60")
    start = time.monotonic()
    assert "longer than 0.5 s" in failed(wiping((program,), 0.5))
    assert time.monotonic() - start < 20


def test_its_output_is_bounded_and_what_it_leaves_is_not_awaited(
    tmp_path: Path,
) -> None:
    program = script(
        tmp_path, "sleep 3 & head -c 3000000 /dev/zero | tr '\\0' x; exit 1"
    )
    start = time.monotonic()
    assert len(failed(wiping((program,), 60))) < 1000
    assert time.monotonic() - start < 3


def test_a_driver_without_its_program() -> None:
    with pytest.raises(errors.Invalid, match="sanitise_command"):
        SanitiseCommand(SanitiseSettings())
