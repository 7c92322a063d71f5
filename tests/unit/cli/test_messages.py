"""What commands print about themselves and about wrong calls."""

from __future__ import annotations

import argparse
import configparser
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.cli.app import NAMESPACE, App
from gpu_passthrough_plugin.cli.command import Command, Lister, Shower
from gpu_passthrough_plugin.discovery import recorded_tree
from tests.golden import assert_golden, sections

CHECKOUT = Path(__file__).parents[3]
UUID = "00000000-0000-4000-8000-000000000001"


def options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Every argument of a parser with its help."""
    return {
        " ".join((*action.option_strings, str(action.metavar or action.dest)))
        if action.nargs != 0
        else " ".join(action.option_strings): action.help or ""
        for action in parser._actions
    }


def commands() -> Iterator[tuple[str, type[Command]]]:
    """Every command of ``setup.cfg``, by name."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    for line in sorted(parser["entry_points"][NAMESPACE].split("\n")):
        name, _, target = line.partition(" = ")
        module, _, attribute = target.partition(":")
        if name:
            command = getattr(importlib.import_module(module), attribute)
            yield name.replace("_", " "), command


def described(name: str, command: type[Command]) -> list[str]:
    """A command's own help, without that of its output formats."""
    app = App()
    bases: tuple[type[Command], ...] = (Lister, Shower)
    base = next((b for b in bases if issubclass(command, b)), Command)
    own = command(app, None).get_parser(name)
    inherited = options(base(app, None).get_parser(name))
    return [
        *(line.strip() for line in str(own.description).splitlines()),
        *(
            f"  {option}: {' '.join(text.split())}"
            for option, text in options(own).items()
            if option not in inherited
        ),
    ]


def test_help_golden() -> None:
    app = App()
    parser = app.build_option_parser("", None)
    globals_ = (
        "--config-file",
        "--root",
        "--recording",
        "--sandbox",
        "--sandbox-host",
    )
    lines = [
        f"{option}: {text}"
        for option, text in options(parser).items()
        if option.startswith(globals_)
    ]
    helps = {name: described(name, command) for name, command in commands()}
    assert_golden(
        Path(__file__).with_name("help.txt"),
        sections({"gpu-passthrough": lines, **helps}),
    )


def test_help_is_mostly_the_commands_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for columns in ("40", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        for name, command in commands():
            text = command(App(), None).get_parser(name).format_help()
            assert "--noindent" not in text
            assert name in text


REFUSED = (
    "group",
    "grouq list",
    "complete extra",
    "help --foo",
    "group list extra",
    "host-check",
    "allocation destroy x",
    "--nosuch",
    "frobnicate",
    "group lst",
    "group show",
    "group list --bogus",
    "host enable --binding",
    "db sync x",
    "--root",
    "device show 6:0",
    "device show 0000:77:00.0",
    "group show 77",
    "group show x",
    "group show 0000:77:00.0",
    "allocation create --request gpu:1",
    "inventory cordon h",
    "inventory uncordon h",
    "db sync",
    "host report host.tar.gz",
    "host record host.zst",
    "inventory sync",
    "instance release nobody",
    "allocation show ../../etc/passwd",
    f"allocation delete {UUID}",
    "hook remove",
    f"hook release {UUID} --patience nan",
    f"hook release {UUID} --patience -1",
    "candidate list --request gpu:1 --forbid-trait LOUD",
    "host verify --report /nonexistent",
    "host record /nonexistent/file",
    "host disable",
    "host disable --dry-run",
    "host enable",
    "host enable --dry-run",
    "host enable --dry-run --select x --select y --binding z --blacklist /",
    "--root /nonexistent group list",
    "--root /nonexistent group show 1",
)


# One process for all calls, and another than this one: cliff configures the
# root logger.
_MAIN = """
import contextlib, io, json, sys
from gpu_passthrough_plugin.cli.main import main
answers = []
for argv in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        try:
            status = main(argv)
        except SystemExit as error:
            status = error.code
    answers.append((status, stderr.getvalue()))
print(json.dumps(answers))
"""


def test_messages_golden(tmp_path: Path) -> None:
    config = tmp_path / "gpu.conf"
    config.write_text(f"[DEFAULT]\nhost = h\nstate_path = {tmp_path}/state\n")
    seed = ("--config-file", str(config), "--recording", recorded_tree.SEED)
    calls = json.dumps([[*seed, *line.split()] for line in REFUSED])
    done = subprocess.run(
        (sys.executable, "-c", _MAIN, calls),
        capture_output=True,
        text=True,
        check=True,
    )
    messages = {}
    for line, (status, text) in zip(
        REFUSED, json.loads(done.stdout), strict=True
    ):
        assert status in (1, 2)
        messages[line] = [
            f"exit status {status}",
            *text.replace(recorded_tree.SEED, "SEED")
            .replace(str(tmp_path), "DIR")
            .splitlines(),
        ]
    assert_golden(Path(__file__).with_name("messages.txt"), sections(messages))
