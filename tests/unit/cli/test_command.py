"""What every command refuses before it acts, by its class and its parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.app import App
from gpu_passthrough_plugin.cli.command import Command, Lister, Shower
from gpu_passthrough_plugin.cli.nova import SHOWN, WRITTEN, NovaConfig
from tests.unit.cli.test_messages import commands


def test_each_command_that_changes_something_has_its_columns() -> None:
    without = {
        name
        for name, command in commands()
        if issubclass(command, Lister | Shower)
        and not (command.reads_only or command.column_names)
    }
    assert without == set()


def test_the_files_of_nova_have_other_columns_when_written() -> None:
    command = NovaConfig(App(), None)
    parser = command.get_parser("nova config")
    for words, columns in (([], SHOWN), (["-o", "x"], WRITTEN)):
        assert command.columns_of(parser.parse_args(words)) == columns


@pytest.mark.parametrize("option", ["-c", "--sort-column"])
def test_a_column_that_is_none_is_refused(option: str) -> None:
    command = Lister(App(), None)
    parser = command.get_parser("list")
    for name in ("Unit", "unit", "resource_class", "Resource Class"):
        words = parser.parse_args([option, name])
        command.require_columns(words, ("Unit", "Resource Class"))
    words = parser.parse_args([option, "Foo"])
    with pytest.raises(errors.Invalid, match=f"{option} 'Foo'.*Unit, Res"):
        command.require_columns(words, ("Unit", "Resource Class"))


def takes_text(action: argparse.Action) -> bool:
    return action.nargs != 0 and action.type is None and not action.choices


def empty_calls(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """Calls with one empty argument each, the others given."""
    texts = [a for a in parser._actions if takes_text(a)]
    for empty in texts:
        words = []
        for action in texts:
            text = "" if action is empty else "x"
            words += [*action.option_strings[-1:], text]
        yield words


def assert_all_refused(
    parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> int:
    calls = list(empty_calls(parser))
    for words in calls:
        with pytest.raises(SystemExit) as caught:
            parser.parse_args(words)
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert " is empty; expected " in line
    return len(calls)


def test_an_empty_argument_is_refused_everywhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    numbers = {
        name: assert_all_refused(command(App(), None).get_parser(name), capsys)
        for name, command in commands()
    }
    numbers[""] = assert_all_refused(
        App().build_option_parser("", None), capsys
    )
    assert numbers["host verify"] > numbers["host check"] > 0
    assert numbers["nova check"] and numbers["host record"] and numbers[""]


def test_a_blank_argument_is_named_as_it_is_typed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_name: dict[str, type[Command]] = dict(commands())
    for name, words, start in (
        ("host verify", ["--report", " "], "--report is empty; expected FILE"),
        ("inventory cordon", [""], "HOST is empty; expected a value"),
        ("nova check", ["a", ""], "FILE is empty; expected a value"),
        ("device show", [""], "address is empty; expected a value"),
    ):
        parser = by_name[name](App(), None).get_parser(name)
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert f": {start}; see '{name} --help'" in capsys.readouterr().err
