"""``instance attach`` and ``detach``: units of a domain that libvirt has."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin.cli import allocation, instance_argument, unit
from gpu_passthrough_plugin.cli.command import Lister, Shower, rows
from gpu_passthrough_plugin.cli.instance import (
    COLUMNS,
    allocation_fields,
    planned_fields,
)
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.model.unit import State

if TYPE_CHECKING:
    from gpu_passthrough_plugin.model.instance import NamedInstance

UNIT_COLUMNS = ("Unit", "State", "Reason")
_DOMAIN = (
    "a domain that libvirt has on this host: its name, its UUID, or four or"
    " more of the UUID's first digits"
)


def _add_domain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("domain", metavar="DOMAIN", help=_DOMAIN)


class InstanceAttach(Shower):
    """Give a defined domain whole groups, from its next start on.

    The claim lasts as long as the domain's definition has them. A step that
    fails rolls back the steps before it.
    """

    column_names = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_domain(parser)
        allocation.add_request(parser)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="show which units would be taken, and change nothing",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import attach

        context = self.context
        uuid, name = _resolved(self, parsed_args.domain)
        # The definition's own nodes come with it.
        request = allocation.read_request(context, parsed_args, None)
        host = context.host_context
        if parsed_args.dry_run:
            units = attach.plan_attach(host, uuid, request)
            say("nothing was changed; the definition would have these units")
            return self.fields(planned_fields(host, name, uuid, units))
        held = attach.attach(host, uuid, request)
        return self.fields(allocation_fields(name, held))


class InstanceDetach(Lister):
    """Take units from a domain; reset, check and free them.

    The exit status is 1 if a unit was quarantined.
    """

    column_names = UNIT_COLUMNS
    empty = "the definition had no unit any more"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_domain(parser)
        parser.add_argument(
            "--unit",
            action="append",
            default=[],
            metavar="[HOST/]ADDRESS",
            help="detach only this unit, by any of its functions; may be"
            " repeated (default: all)",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="show which units would be freed, and change nothing",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import attach

        host = self.context.host_context
        uuid, _ = _resolved(self, parsed_args.domain)
        keys = [unit.named_unit(self.context, u) for u in parsed_args.unit]
        act = attach.plan_detach if parsed_args.dry_run else attach.detach
        records = act(host, uuid, keys)
        if parsed_args.dry_run:
            say("nothing was changed; these units would be reset and freed")
        elif any(r.state is State.QUARANTINED for r in records):
            self.status = 1
        return UNIT_COLUMNS, rows(
            *((str(r.unit.key), r.state, r.reason) for r in records)
        )


def _resolved(
    command: InstanceAttach | InstanceDetach, text: str
) -> NamedInstance:
    instance = instance_argument.resolve(
        command.context, text, is_destructive=True
    )
    return instance_argument.named(command.context, instance)
