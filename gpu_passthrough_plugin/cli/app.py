"""The cliff application: global options, and commands by entry point."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import cliff.app
import cliff.commandmanager

from gpu_passthrough_plugin.cli.command import one_line_errors
from gpu_passthrough_plugin.cli.main import DISTRIBUTION

NAMESPACE = "gpu_passthrough_plugin.cli"


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
        try:
            command: tuple[Any, str, list[str]] = super().find_command(argv)
        except ValueError:
            self.load_all()
            try:
                command = super().find_command(argv)
            except ValueError as error:
                raise ValueError(
                    f"gpu-passthrough: {' '.join(argv)!r} is not a command;"
                    " see 'gpu-passthrough --help'"
                ) from error
        return command

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


class App(cliff.app.App):
    """``gpu-passthrough``."""

    NAME = "gpu-passthrough"
    LOG = logging.getLogger("gpu_passthrough_plugin")
    # Warnings; -v shows messages of libraries, -vv and --debug everything.
    DEFAULT_VERBOSE_LEVEL = 0

    _failure: BaseException | None = None

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
            metavar="FILE",
            help="read a recorded host (umockdev's text format); it cannot be"
            " changed",
        )
        return one_line_errors(parser, self.NAME)

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
