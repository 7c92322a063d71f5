"""Commands that show what they would change, and may do no more."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin.cli.command import Lister, rows

if TYPE_CHECKING:
    from gpu_passthrough_plugin.model.change import Change, UndoStep

COLUMNS = ("Step", "Target", "Action")


class Planner(Lister):
    """A command that shows its plan, and that may do no more."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="show what would be done, and do nothing",
        )
        return parser

    def answer(self, steps: Iterable[Change | UndoStep]) -> Any:
        return COLUMNS, rows(
            *((step.step, step.target, str(step.action)) for step in steps)
        )
