"""``db``: the ledger's schema."""

from __future__ import annotations

import argparse
from typing import Any

from gpu_passthrough_plugin.cli.command import Command
from gpu_passthrough_plugin.cli.context import say


class DbSync(Command):
    """Create the ledger, or bring its schema up to this release's."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        version = self.context.ledger.sync()
        say(f"ledger schema is up to date ({version})")
