"""What every command shares: output formats, and errors as exit statuses."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import EntryPoint
from typing import Any

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
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.model.reading import Unknown, shown

# Imported here, and not through cliff's entry points: finding those costs
# more than listing a host.
_FORMATS = {
    "table": table.TableFormatter,
    "json": json_format.JSONFormatter,
    "yaml": yaml_format.YAMLFormatter,
    "csv": commaseparated.CSVLister,
    "value": value.ValueFormatter,
}


class Field(columns.FormattableColumn[object]):
    """A value that machines get as it is, and people in words."""

    def machine_readable(self) -> Any:
        if isinstance(self._value, Unknown):
            return shown(self._value)
        if isinstance(self._value, tuple):
            return [str(v) for v in self._value]
        return self._value

    def human_readable(self) -> str:
        if isinstance(self._value, tuple):
            return "\n".join(str(v) for v in self._value)
        return shown(self._value)


class Command(cliff.command.Command):
    """A command whose errors become one line and an exit status.

    ``status`` is what the process ends with when the output is printed.
    """

    status = 0

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            super().run(parsed_args)
        except errors.Faults as error:
            for fault in error.faults:
                self._complain(fault)
            return error.exit_status
        except errors.Error as error:
            self._complain(str(error))
            return error.exit_status
        return self.status

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        raise NotImplementedError

    def _complain(self, message: str) -> None:
        line = " ".join(message.split())
        print(f"gpu-passthrough: {line}", file=sys.stderr)

    @property
    def context(self) -> Context:
        """What the global options and the configuration name."""
        options = self.app.options
        return Context(options.root, options.recording, options.config_file)


class _Formats:
    """The output formats, without looking for anybody else's."""

    def _load_formatter_plugins(self) -> Any:
        return stevedore.ExtensionManager.make_test_instance(
            [
                Extension(name, EntryPoint(name, "", ""), made, made())
                for name, made in self.formats().items()
            ]
        )

    def formats(self) -> dict[str, Any]:
        return _FORMATS


class Lister(_Formats, Command, cliff.lister.Lister):
    """A command that prints rows under fixed columns."""


class Shower(_Formats, Command, cliff.show.ShowOne):
    """A command that prints the fields of one thing."""

    def formats(self) -> dict[str, Any]:
        # CSV is for rows only.
        return {n: f for n, f in _FORMATS.items() if n != "csv"}

    def fields(self, values: dict[str, object]) -> Any:
        return tuple(values), tuple(Field(v) for v in values.values())


def rows(*lines: tuple[object, ...]) -> tuple[tuple[Field, ...], ...]:
    """The lines, each value fit for people and machines."""
    return tuple(tuple(Field(v) for v in line) for line in lines)
