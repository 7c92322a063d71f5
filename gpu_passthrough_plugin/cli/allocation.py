"""``allocation``: who holds what, in the ledger."""

from __future__ import annotations

import argparse
import uuid as uuids
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import candidate
from gpu_passthrough_plugin.cli.command import Lister, Shower, rows
from gpu_passthrough_plugin.model.allocation import Allocation

COLUMNS = ("Consumer", "Host", "Units", "State")


def row(held: Allocation) -> tuple[object, ...]:
    """An allocation under its columns."""
    return (
        held.consumer,
        held.host,
        tuple(str(r.unit.key.address) for r in held.units),
        ",".join(held.states),
    )


def parse_uuid(text: str) -> str:
    """The UUID in its canonical form.

    :raises Invalid: when it is none.
    """
    try:
        return str(uuids.UUID(text))
    except ValueError as error:
        raise errors.Invalid(
            f"{text!r} is no UUID; wanted such as {uuids.UUID(int=0)}"
        ) from error


class AllocationCreate(Shower):
    """Claim the best units for a request: all of them or none."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        candidate.add_request(parser)
        candidate.add_host(parser)
        candidate.add_numa(parser)
        parser.add_argument(
            "--consumer",
            metavar="UUID",
            help="the instance it is for (default: a new one)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        consumer = parse_uuid(parsed_args.consumer or str(uuids.uuid4()))
        request = candidate.asked(
            context, parsed_args, candidate.nodes(parsed_args)
        )
        held = context.ledger.claim(request, consumer, host=parsed_args.host)
        return self.fields(dict(zip(COLUMNS, row(held), strict=True)))


class AllocationList(Lister):
    """List who holds what."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        held = self.context.ledger.allocations()
        return COLUMNS, rows(*(row(h) for h in held))


class _OfOne(Shower):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("consumer", metavar="UUID")
        return parser


class AllocationShow(_OfOne):
    """Show what one consumer holds."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        held = self.context.ledger.allocation(parse_uuid(parsed_args.consumer))
        fields = dict(zip(COLUMNS, row(held), strict=True))
        fields["Request"] = held.request
        fields["Functions"] = tuple(
            str(f.address) for r in held.units for f in r.unit.functions
        )
        return self.fields(fields)


class AllocationDelete(_OfOne):
    """Free what a consumer claimed and no instance has begun to use."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import release

        consumer = parse_uuid(parsed_args.consumer)
        held = release.withdraw(self.context.site, consumer)
        fields = dict(zip(COLUMNS, row(held), strict=True))
        fields["State"] = "free"
        return self.fields(fields)
