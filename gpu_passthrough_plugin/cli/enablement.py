"""``host enable`` and ``host disable``: how this host boots."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin.cli.context import say
from gpu_passthrough_plugin.cli.plan import Planner

if TYPE_CHECKING:
    from gpu_passthrough_plugin.model.change import Change


class HostEnable(Planner):
    """Bring selected functions to vfio-pci at every boot of this host.

    Turns the IOMMU on, and binds every function of the selected groups
    before any other driver sees it. Shows what changes, keeps what was; a
    second run changes nothing, and 'host disable' takes all of it back.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--select",
            action="append",
            default=[],
            metavar="SPEC",
            help="take this instead of what [discovery] select names: an"
            " address, VENDOR:PRODUCT or class=CLASS; may be repeated",
        )
        parser.add_argument(
            "--binding",
            metavar="address|ids",
            help="how functions are bound (default: [enablement] binding)",
        )
        parser.add_argument(
            "--blacklist",
            action="append",
            default=[],
            metavar="DRIVER",
            help="keep this driver from loading by itself, besides those"
            " in [enablement] blacklist; may be repeated",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import enablement

        context = self.context
        options = enablement.EnableOptions(
            select=tuple(parsed_args.select),
            binding=parsed_args.binding,
            blacklist=tuple(parsed_args.blacklist),
        )
        if parsed_args.dry_run:
            plan = enablement.plan_enable(context.boot, options)
            _tell(plan.notes, plan.changes)
            return self.answer(plan.changes)
        context.require_host()
        return self.answer(enablement.enable(context.boot, options, _tell))


class HostDisable(Planner):
    """Take back everything that 'host enable' did, newest first.

    Files get back their bytes, modes, owners and attributes. One that
    somebody edited since keeps the edit: ours is taken out of it.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import enablement

        context = self.context
        context.require_host()
        if parsed_args.dry_run:
            return self.answer(enablement.plan_disable(context.boot))
        return self.answer(enablement.disable(context.boot))


def _tell(notes: Iterable[str], changes: Iterable[Change]) -> None:
    """Show what a plan does to files, as a diff, before it is done."""
    from gpu_passthrough_plugin.cli.diff import lines

    for note in notes:
        say(note)
    for line in lines(changes):
        say(line)
