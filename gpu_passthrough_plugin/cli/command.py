"""Base classes of commands: output formats, exit statuses, dry runs."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import cliff.command
import cliff.lister
import cliff.show
import stevedore
from cliff import columns
from cliff.formatters import (
    commaseparated,
    json_format,
    table,
    value,
    yaml_format,
)
from stevedore.extension import Extension

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import findings, fitting, output
from gpu_passthrough_plugin.cli.arguments import one_line_errors
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.model.change import Action, Change, UndoStep, Write


class FittingTable(table.TableFormatter):
    """cliff's table; on a terminal that is too narrow, one that fits.

    cliff's own breaks words, and is wider than the terminal all the same.
    """

    def emit_list(self, names: Any, data: Any, out: Any, args: Any) -> None:
        data = list(data)
        width = findings.terminal_width(args.max_width)
        cells = [[_cell(value) for value in row] for row in data]
        widest = (
            max(len(line) for cell in column for line in cell)
            for column in zip([[n] for n in names], *cells, strict=False)
        )
        if not (data and width) or sum(w + 3 for w in widest) < width:
            super().emit_list(names, data, out, args)
            return
        for line in fitting.lines(names, cells, width):
            out.write(f"{line}\n")


def _cell(value: object) -> list[str]:
    if isinstance(value, columns.FormattableColumn):
        value = value.human_readable()
    return str(value).split("\n")


# Imported here, and not through cliff's entry points: finding those costs
# more than listing a host.
_FORMATS = {
    "table": FittingTable,
    "json": json_format.JSONFormatter,
    "yaml": yaml_format.YAMLFormatter,
    "csv": commaseparated.CSVLister,
    "value": value.ValueFormatter,
}


CHANGES = ("Step", "Target", "Action")
_NOTHING = "/dev/null"
_ROOT = "/"
_FOR_SEVERAL = ", or --sandbox DIR for several recordings"


class Field(columns.FormattableColumn[object]):
    """A value, formatted for machines or for people."""

    def machine_readable(self) -> Any:
        return output.plain(self._value)

    def human_readable(self) -> str:
        return output.text(self._value)

    def flat(self, between: str) -> str:
        """Return the value in one line, for formats without lists."""
        return output.flat(self._value, between)


def number_from_zero(text: str) -> int:
    """Return an argument that is a whole number.

    :raises ArgumentTypeError: when it is none, is negative, or has more than
        nine digits.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not valid; expected one number from 0, such as 1"
        )
    return int(text)


class Command(cliff.command.Command):
    """A command whose errors become one line and an exit status.

    ``status`` is the exit status once the output is printed.

    :cvar reads_only: whether it changes neither a host nor a ledger, so that
        it keeps few of root's capabilities.
    :cvar runs_tools: whether it runs the host's own tools, so that it keeps
        all of them.
    :cvar column_names: of what it prints; a command that changes something
        has them, so that a wrong choice of columns is refused before it acts.
    """

    status = 0
    column_names: ClassVar[tuple[str, ...]] = ()
    reads_only: ClassVar[bool] = False
    runs_tools: ClassVar[bool] = False

    def run(self, parsed_args: argparse.Namespace) -> int:
        options = self.app.options

        def act() -> int:
            report = getattr(parsed_args, "report", None)
            _require_one_host(options, report)
            self.require_columns(parsed_args, self.columns_of(parsed_args))
            if getattr(self.app, "is_own_process", False):
                self.context.confine(
                    reads_only=self.reads_only,
                    runs_tools=self.runs_tools,
                    is_foreign=bool(report),
                )
            super(Command, self).run(parsed_args)
            return self.status

        return output.run(act, is_debug=options.debug)

    def columns_of(self, _parsed_args: argparse.Namespace) -> tuple[str, ...]:
        """Return the columns of what a call prints; empty if not known yet."""
        return self.column_names

    def require_columns(
        self, parsed_args: argparse.Namespace, names: Iterable[str]
    ) -> None:
        """Raise if a chosen column does not exist: cliff would leave it out.

        :param names: of the columns; empty if not known yet.
        :raises Invalid: when one is not, with the names that are.
        """
        columns = {_column(name) for name in names}
        for option, dest in _COLUMN_OPTIONS.items():
            for name in getattr(parsed_args, dest, None) or ():
                if columns and _column(name) not in columns:
                    raise errors.Invalid(
                        f"{option} {name!r} is not a column; expected one of:"
                        f" {', '.join(names)}"
                    )

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        raise NotImplementedError

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return one_line_errors(super().get_parser(prog_name), prog_name)

    def get_epilog(self) -> str:
        # cliff would search all installed distributions for the owner of
        # the command, at every call.
        return ""

    @functools.cached_property
    def context(self) -> Context:
        """Return the context that the global options select."""
        options = self.app.options
        # As typed, without what follows the command's own words.
        command = self.cmd_name or ""
        if options.sandbox is None:
            recording = options.recording[0] if options.recording else None
            return Context(
                options.root, recording, options.config_file, command
            )
        from gpu_passthrough_plugin.cli.sandbox import SandboxContext

        return SandboxContext(
            options.sandbox,
            options.sandbox_host,
            options.recording,
            options.config_file,
            command,
        )


_COLUMN_OPTIONS = {"-c": "columns", "--sort-column": "sort_columns"}


def _column(name: str) -> str:
    """Return a column's name as cliff compares what was typed with it."""
    return name.lower().strip().replace(" ", "_")


def _require_one_host(options: argparse.Namespace, report: str | None) -> None:
    """Raise if options name two hosts, of which one would be ignored.

    :raises Invalid: naming both.
    """
    is_sandbox = options.sandbox is not None
    if options.sandbox_host is not None and not is_sandbox:
        raise errors.Invalid(
            f"--sandbox-host {options.sandbox_host} is a host of a sandbox;"
            " expected --sandbox DIR as well"
        )
    recordings = () if is_sandbox else options.recording
    named = [
        f"{option} {path}"
        for option, path in (
            ("--sandbox", options.sandbox),
            ("--root", None if options.root == _ROOT else options.root),
            *(("--recording", path) for path in recordings),
            ("--report", report),
        )
        if path is not None
    ]
    if len(named) > 1:
        hint = "" if is_sandbox or len(recordings) < 2 else _FOR_SEVERAL
        raise errors.Invalid(
            f"{named[0]} and {named[1]} are two hosts; expected one{hint}"
        )


# The two directions of sorting stay: argparse cannot print a usage without
# them.
_RARE = frozenset({"--fit-width", "--print-empty", "--noindent", "--quote"})


class _Formats:
    """The output formats, without a search for other formatters."""

    def _load_formatter_plugins(self) -> Any:
        return stevedore.ExtensionManager.make_test_instance(
            [
                Extension(name, EntryPoint(name, "", ""), made, made())
                for name, made in self.formats().items()
            ]
        )

    def formats(self) -> dict[str, Any]:
        return _FORMATS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser; help has the formats' own options in one line.

        They would be two thirds of it.
        """
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        for action in parser._actions:
            if _RARE.intersection(action.option_strings):
                action.help = argparse.SUPPRESS
        return parser


class Lister(_Formats, Command, cliff.lister.Lister):
    """A command that prints rows under fixed columns.

    :cvar empty: what no rows mean, and what to do; "" where that is said
        otherwise.
    """

    empty: ClassVar[str] = ""

    def produce_output(
        self, parsed_args: argparse.Namespace, names: Any, data: Any
    ) -> int:
        self.require_columns(parsed_args, names)
        if not data and self.empty:
            output.say(self.empty)
        if parsed_args.formatter in output.FLAT:
            between = output.separator(parsed_args.formatter)
            data = tuple(tuple(f.flat(between) for f in row) for row in data)
        return int(super().produce_output(parsed_args, names, data))


class _OneRow(commaseparated.CSVLister):
    """cliff's CSV, also for a single record: one row under field names."""

    def emit_one(self, names: Any, data: Any, out: Any, args: Any) -> None:
        self.emit_list(names, [data], out, args)


class Shower(_Formats, Command, cliff.show.ShowOne):
    """A command that prints the fields of one record."""

    def formats(self) -> dict[str, Any]:
        return {**_FORMATS, "csv": _OneRow}

    def produce_output(
        self, parsed_args: argparse.Namespace, names: Any, data: Any
    ) -> int:
        self.require_columns(parsed_args, names)
        if parsed_args.formatter in output.FLAT:
            between = output.separator(parsed_args.formatter)
            data = tuple(f.flat(between) for f in data)
        return int(super().produce_output(parsed_args, names, data))

    def emit_rows(
        self,
        parsed_args: argparse.Namespace,
        names: tuple[str, ...],
        data: Iterable[tuple[Field, ...]],
    ) -> None:
        """Print rows in place of the fields of one record."""
        self.require_columns(parsed_args, names)
        columns, selector = self._generate_columns_and_selector(
            parsed_args, names
        )
        shown: list[list[Any]] = []
        for row in data:
            cells: list[Any] = list(row)
            if parsed_args.formatter in output.FLAT:
                between = output.separator(parsed_args.formatter)
                cells = [field.flat(between) for field in row]
            shown.append(
                list(self._compress_iterable(cells, selector))
                if selector
                else cells
            )
        # Each of the formats prints lists as well.
        formatter: Any = self.formatter
        formatter.emit_list(columns, shown, self.app.stdout, parsed_args)

    def fields(self, values: dict[str, object]) -> Any:
        return tuple(values), tuple(Field(v) for v in values.values())


def rows(*lines: Iterable[object]) -> tuple[tuple[Field, ...], ...]:
    """Return the rows with each value as a ``Field``."""
    return tuple(
        tuple(v if isinstance(v, Field) else Field(v) for v in line)
        for line in lines
    )


def add_dry_run(
    parser: argparse.ArgumentParser, shown: str = "what would be done"
) -> None:
    """Add the option that has a command change nothing."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help=f"show {shown}, and change nothing",
    )


class DryRunCommand(Lister):
    """A command that prints its plan, and with ``--dry-run`` only that."""

    column_names = CHANGES

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_dry_run(parser, "what would be changed")
        return parser

    def answer(self, steps: Iterable[Change | UndoStep]) -> Any:
        return CHANGES, rows(
            *((step.step, step.target, str(step.action)) for step in steps)
        )


def diff_lines(changes: Iterable[Change]) -> Iterator[str]:
    """Yield a unified diff of every file that is written, without newlines."""
    for change in changes:
        if isinstance(change, Write) and change.action is not Action.KEEP:
            yield from _file_diff(change)


def _file_diff(write: Write) -> Iterator[str]:
    import difflib

    old = _NOTHING if write.was is None else write.path
    new = _NOTHING if write.becomes is None else write.path
    diff = difflib.unified_diff(
        _text(write.was), _text(write.becomes), old, new, lineterm=""
    )
    for line in diff:
        yield line.rstrip("\n")


def _text(content: bytes | None) -> list[str]:
    text = (content or b"").decode("utf-8", "backslashreplace")
    return text.splitlines()
