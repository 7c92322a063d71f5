"""The cliff application: global options, and commands by entry point."""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import cliff.app
import cliff.commandmanager
import cliff.complete
import cliff.help

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import logs, output
from gpu_passthrough_plugin.cli.arguments import one_line_errors
from gpu_passthrough_plugin.cli.main import DISTRIBUTION

NAMESPACE = "gpu_passthrough_plugin.cli"


class _NoCommand(errors.Invalid, ValueError):
    """What was typed is no command; cliff expects a ValueError."""


class Commands(cliff.commandmanager.CommandManager):
    """Commands by entry point, imported only when they are called.

    This distribution's own entry points come first; those of every other
    one are read only for an unknown command, or for help.
    """

    def load_commands(self, namespace: str) -> None:
        self.group_list.append(namespace)
        own = metadata.distribution(DISTRIBUTION).entry_points
        self._add(own.select(group=namespace))

    def find_command(self, argv: list[str]) -> tuple[Any, str, list[str]]:
        for is_whole in (False, True):
            if is_whole:
                self.load_all()
            with contextlib.suppress(ValueError):
                command: tuple[Any, str, list[str]]
                command = super().find_command(argv)
                # cliff also takes the beginning of one: "host d" would undo
                # what "host enable" did.
                if command[1] in self.commands:
                    return command
        kind = "an option" if argv[0].startswith("-") else "a command"
        raise _NoCommand(
            f"{' '.join(argv)!r} is not {kind}; {self._advice(argv)}"
        )

    def _advice(self, argv: list[str]) -> str:
        """Return what may have been meant instead of a wrong command."""
        import difflib

        words = re.split("[-_ ]+", " ".join(argv[:2]).lstrip("-"))[:2]
        group = sorted(c for c in self.commands if c.split()[0] == words[0])
        by_verb = {c.partition(" ")[2]: c for c in group}
        near = difflib.get_close_matches(words[-1], by_verb, 1, 0.6)
        if group and near:
            return f"did you mean '{by_verb[near[0]]}'?"
        if group:
            return f"expected one of: {', '.join(group)}"
        near = difflib.get_close_matches(
            " ".join(words), list(self.commands), 1, 0.75
        )
        if near:
            return f"did you mean '{near[0]}'?"
        return "see 'gpu-passthrough --help'"

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Iterate over every command, for help and completion."""
        self.load_all()
        return iter(self.commands.items())

    def load_all(self) -> None:
        """Add the commands of other distributions."""
        self._add(metadata.entry_points(group=NAMESPACE))

    def _add(self, entry_points: metadata.EntryPoints) -> None:
        for point in entry_points:
            self.commands.setdefault(point.name.replace("_", " "), point)


class _Help(cliff.help.HelpCommand):
    """Print detailed help for another command."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return one_line_errors(super().get_parser(prog_name), prog_name)


class _Complete(cliff.complete.CompleteCommand):
    """Print bash completion command."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return one_line_errors(super().get_parser(prog_name), prog_name)


class App(cliff.app.App):
    """``gpu-passthrough``."""

    NAME = "gpu-passthrough"
    LOG = logging.getLogger("gpu_passthrough_plugin")
    # Warnings; -v shows what is done, -vv and --debug everything.
    DEFAULT_VERBOSE_LEVEL = 0

    _failure: BaseException | None = None
    _has_begun = False

    def __init__(self, *, is_own_process: bool = False) -> None:
        """Make one.

        :param is_own_process: whether a command may give up capabilities for
            good.
        """
        self.is_own_process = is_own_process
        super().__init__(
            description="Hands whole IOMMU groups of GPUs to virtual"
            " machines.",
            version=None,  # main() answers --version without all this
            command_manager=Commands(NAMESPACE),
            deferred_help=True,
        )
        # cliff's own, whose parsers print a usage.
        self.command_manager.add_command("help", _Help)
        self.command_manager.add_command("complete", _Complete)

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().build_option_parser(
            description, version, argparse_kwargs
        )
        parser.add_argument(
            "--config-file",
            action="append",
            default=[],
            metavar="FILE",
            help="read the configuration from FILE; may be repeated, later"
            " files win (default:"
            " /etc/gpu-passthrough/gpu-passthrough.conf when it exists)",
        )
        parser.add_argument(
            "--root",
            default="/",
            metavar="DIR",
            help="read the host below DIR instead of /",
        )
        parser.add_argument(
            "--recording",
            action="append",
            default=[],
            metavar="FILE",
            help="read a recorded host (umockdev's text format), which cannot"
            " be changed; with --sandbox, add it to the sandbox (may be"
            " repeated)",
        )
        parser.add_argument(
            "--sandbox",
            metavar="DIR",
            help="act on recorded hosts; their ledger, drivers and guests are"
            " kept in DIR, which is created if it is missing, and nothing else"
            " is changed",
        )
        parser.add_argument(
            "--sandbox-host",
            metavar="NAME",
            help="host of the sandbox to act on (default: the first one)",
        )
        return one_line_errors(parser, self.NAME)

    def run(self, argv: list[str]) -> int:
        """Return the exit status.

        Where no command began, or none was given, cliff's is 1, which means
        a negative answer here.
        """
        status: int = output.run(lambda: super(App, self).run(argv))
        is_cliffs = status == 1 and not self._has_begun
        return 2 if is_cliffs or (status == 1 and not argv) else status

    def configure_logging(self) -> None:
        path = self.options.log_file
        logs.configure(self.stderr, self.options.verbose_level, path)

    def prepare_to_run_command(self, cmd: Any) -> None:
        self._has_begun = True

    def get_fuzzy_matches(self, cmd: str) -> list[str]:
        """Return none: an error is one line on stderr."""
        return []

    def run_subcommand(self, argv: list[str]) -> int:
        """Return the command's exit status; 2 when cliff reports an error.

        cliff's own status is 1, which means a negative answer here.
        """
        status: int = super().run_subcommand(argv)
        return 2 if self._failure else status

    def clean_up(
        self, cmd: Any, result: int, err: BaseException | None
    ) -> None:
        self._failure = err

    def interact(self) -> None:
        """Print help: without a command cliff would open a shell."""
        self.run_subcommand(["help"])
