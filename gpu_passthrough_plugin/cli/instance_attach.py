"""``instance attach`` and ``detach``: units of a domain that libvirt has."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin.cli import allocation, instance_argument, unit
from gpu_passthrough_plugin.cli.command import (
    Lister,
    Shower,
    add_dry_run,
    number_from_zero,
    rows,
)
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
    """Give a domain whole groups: all their functions, or none.

    The running guest gets them, if it runs, and the definition, if libvirt
    has one: then the claim lasts as long as that. A step that fails rolls
    back the steps before it.
    """

    column_names = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_domain(parser)
        allocation.add_request(parser)
        scope = parser.add_mutually_exclusive_group()
        scope.add_argument(
            "--live",
            action="store_true",
            help="only plug them into the running guest, until it stops",
        )
        scope.add_argument(
            "--config",
            action="store_true",
            help="only add them to the definition, for the next start",
        )
        add_dry_run(parser, "which units would be taken")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import attach

        context = self.context
        uuid, name = _resolved(self, parsed_args.domain)
        # The definition's own nodes come with it.
        request = allocation.read_request(context, parsed_args, None)
        host = context.host_context
        scope = attach.Scope.CURRENT
        if parsed_args.live:
            scope = attach.Scope.LIVE
        elif parsed_args.config:
            scope = attach.Scope.CONFIG
        if parsed_args.dry_run:
            units = attach.plan_attach(host, uuid, request, scope)
            say("nothing was changed; the domain would get these units")
            return self.fields(planned_fields(host, name, uuid, units))
        held = attach.attach(host, uuid, request, scope)
        return self.fields(allocation_fields(name, held))


class InstanceDetach(Lister):
    """Take units from a domain; reset, check and free them.

    A running guest is asked to give them up, which its operating system may
    refuse; then it keeps them all, and nothing is freed. The exit status is 1
    then, and if a unit was quarantined.
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
            "--wait",
            type=number_from_zero,
            default=30,
            metavar="SECONDS",
            help="how long a running guest may take to give them up (default:"
            " 30)",
        )
        add_dry_run(parser, "which units would be freed")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import attach

        host = self.context.host_context
        uuid, _ = _resolved(self, parsed_args.domain)
        keys = [unit.named_unit(self.context, u) for u in parsed_args.unit]
        if not parsed_args.dry_run:
            records = attach.detach(host, uuid, keys, wait_s=parsed_args.wait)
        else:
            records = attach.plan_detach(host, uuid, keys)
            say("nothing was changed; these units would be reset and freed")
        if any(r.state is State.QUARANTINED for r in records):
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
