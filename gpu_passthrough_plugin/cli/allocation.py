"""``candidate`` and ``allocation``: where requests fit, and who holds what."""

from __future__ import annotations

import argparse
import dataclasses
import uuid as uuids
from typing import Any, cast

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import instance_argument
from gpu_passthrough_plugin.cli.command import (
    Field,
    Lister,
    Shower,
    number_from_zero,
    rows,
)
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.inventory import MALFORMED
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.instance import parse_consumer
from gpu_passthrough_plugin.model.request import Request

CANDIDATES = ("Host", "Units", "Score")
COLUMNS = ("Consumer", "Host", "Units", "State")
_MOST = 1000


def row(allocation: Allocation) -> tuple[object, ...]:
    """Return an allocation's row."""
    return (
        allocation.consumer,
        allocation.host,
        tuple(str(r.unit.key.address) for r in allocation.units),
        ",".join(allocation.states),
    )


def add_request(parser: argparse.ArgumentParser) -> None:
    """Add the options that make up a request."""
    parser.add_argument(
        "--request",
        required=True,
        metavar="ALIAS:N[,...]",
        help="requested units, in the syntax of Nova's pci_passthrough:alias,"
        " such as gpu:2,nic:1",
    )
    parser.add_argument(
        "--same-switch",
        action="store_true",
        help="all units have to be below one PCIe switch",
    )
    parser.add_argument(
        "--forbid-trait",
        action="append",
        default=[],
        metavar="TRAIT",
        help="exclude units with this trait; may be repeated",
    )
    parser.add_argument(
        "--aggregate",
        metavar="NAME",
        help="only hosts of this aggregate (default: any)",
    )


def add_host(parser: argparse.ArgumentParser) -> None:
    """Add the option that restricts the choice to one host."""
    parser.add_argument(
        "--host",
        metavar="HOST",
        help="only this host (default: any)",
    )


def add_numa(parser: argparse.ArgumentParser) -> None:
    """Add the option that ties an instance to NUMA nodes."""
    parser.add_argument(
        "--numa-node",
        action="append",
        type=number_from_zero,
        metavar="N",
        help="host NUMA node that the instance's memory is on; may be"
        " repeated (default: any node)",
    )


def nodes(parsed_args: argparse.Namespace) -> frozenset[int] | None:
    """Return the NUMA nodes that were given, or None."""
    numa_nodes = parsed_args.numa_node
    return None if numa_nodes is None else frozenset(numa_nodes)


def read_request(
    context: Context,
    parsed_args: argparse.Namespace,
    numa_nodes: frozenset[int] | None,
) -> Request:
    """Return the request of the options that ``add_request`` adds.

    :raises Faults: with everything that is wrong in them.
    """
    forbidden = frozenset(parsed_args.forbid_trait)
    faults = [
        f"--forbid-trait {name!r} is not valid; expected {trait.EXPECTED}"
        for name in sorted(forbidden)
        if not trait.is_trait(name)
    ]
    if faults:
        raise errors.Faults(tuple(faults))
    return dataclasses.replace(
        context.request(parsed_args.request, numa_nodes),
        same_switch=parsed_args.same_switch,
        forbidden_traits=forbidden,
        aggregate=parsed_args.aggregate,
    )


def _limit(text: str) -> int:
    """Return how many candidates to list at most."""
    is_short = text.isdecimal() and len(text) <= len(str(_MOST))
    if not is_short or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not valid; expected a number from 1 to {_MOST}"
        )
    return int(text)


class Score(Field):
    """A score: a number for programs, its seven figures for people."""

    def human_readable(self) -> str:
        return score_text(cast("int", self._value))

    def flat(self, between: str) -> str:
        return self.human_readable()


def score_text(score: int) -> str:
    """Return the figures of a score, such as ``00.00.00.01.00.01.00``."""
    digits = f"{max(score, 0):014d}"
    return ".".join(digits[at : at + 2] for at in range(0, len(digits), 2))


class CandidateList(Lister):
    """List the hosts and units that satisfy a request, best first.

    The exit status is 1 when no host does.
    """

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_request(parser)
        add_host(parser)
        add_numa(parser)
        parser.add_argument(
            "--limit",
            type=_limit,
            default=10,
            metavar="N",
            help=f"list at most N, up to {_MOST} (default: 10)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        request = read_request(context, parsed_args, nodes(parsed_args))
        candidates = context.ledger.candidates(
            request, host=parsed_args.host, limit=parsed_args.limit
        )
        if not candidates:
            self.status = 1
            say(
                str(
                    context.ledger.no_valid_host(
                        request, host=parsed_args.host
                    )
                )
            )
        return CANDIDATES, rows(
            *(
                (
                    c.host,
                    tuple(str(u.unit.key.address) for u in c.units),
                    Score(c.score),
                )
                for c in candidates
            )
        )


class AllocationCreate(Shower):
    """Claim the best units for a request: all of them or none."""

    column_names = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_request(parser)
        add_host(parser)
        add_numa(parser)
        parser.add_argument(
            "--consumer",
            metavar="UUID",
            help="the instance that gets the units (default: a new UUID)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        consumer = parsed_args.consumer
        uuid = parse_consumer(
            str(uuids.uuid4()) if consumer is None else consumer
        )
        ledger = context.changed_ledger
        request = read_request(context, parsed_args, nodes(parsed_args))
        is_held = consumer is not None and _holds_units(context, uuid)
        allocation = ledger.claim(request, uuid, host=parsed_args.host)
        units = ", ".join(str(r.unit.key) for r in allocation.units)
        # Also where stdout fails: no other place has a new UUID.
        done = "already held:" if is_held else "claimed"
        say(f"{done} {units} for {uuid}")
        return self.fields(dict(zip(COLUMNS, row(allocation), strict=True)))


def _holds_units(context: Context, consumer: str) -> bool:
    try:
        return bool(context.ledger.allocation(consumer).units)
    except errors.Refused:
        return False


class AllocationList(Lister):
    """List consumers and the units that they hold."""

    reads_only = True
    empty = "no consumer holds a unit; see 'gpu-passthrough inventory list'"

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        ledger = self.context.ledger
        malformed = [u for u in ledger.listing().malformed if u.consumer]
        return COLUMNS, rows(
            *map(row, ledger.allocations()),
            *(
                (unit.consumer, unit.host, (unit.address,), MALFORMED)
                for unit in malformed
            ),
        )


class _ConsumerCommand(Shower):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        instance_argument.add(parser)
        return parser

    def consumer(
        self, parsed_args: argparse.Namespace, *, is_destructive: bool
    ) -> str:
        """Return the UUID that the operator names."""
        return instance_argument.resolve(
            self.context, parsed_args.instance, is_destructive=is_destructive
        ).uuid


class AllocationShow(_ConsumerCommand):
    """Show the units that one consumer holds."""

    reads_only = True

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        consumer = self.consumer(parsed_args, is_destructive=False)
        allocation = self.context.ledger.allocation(consumer)
        fields = dict(zip(COLUMNS, row(allocation), strict=True))
        fields["Request"] = allocation.request
        fields["Functions"] = tuple(
            str(f.address) for r in allocation.units for f in r.unit.functions
        )
        return self.fields(fields)


class AllocationDelete(_ConsumerCommand):
    """Free the units that a consumer claimed, if no instance uses them."""

    column_names = COLUMNS

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import release

        context = self.context.host_context
        consumer = self.consumer(parsed_args, is_destructive=True)
        allocation = release.withdraw(context, consumer)
        fields = dict(zip(COLUMNS, row(allocation), strict=True))
        fields["State"] = "free"
        return self.fields(fields)
