"""``candidate``: where a request would fit."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.command import Lister, rows
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.request import Request

COLUMNS = ("Host", "Units", "Score")
_MOST = 1000


def add_request(parser: argparse.ArgumentParser) -> None:
    """The options that say what is asked for."""
    parser.add_argument(
        "--request",
        required=True,
        metavar="ALIAS:N[,...]",
        help="what is asked for, as in pci_passthrough:alias: gpu:2,nic:1",
    )
    parser.add_argument(
        "--same-switch",
        action="store_true",
        help="only units that are all below one PCIe switch",
    )
    parser.add_argument(
        "--forbid-trait",
        action="append",
        default=[],
        metavar="TRAIT",
        help="no unit that has this trait; may be repeated",
    )
    parser.add_argument(
        "--aggregate",
        metavar="NAME",
        help="only hosts of this aggregate (default: any)",
    )


def add_host(parser: argparse.ArgumentParser) -> None:
    """The option that holds the choice to one host."""
    parser.add_argument("--host", help="only this host (default: any)")


def add_numa(parser: argparse.ArgumentParser) -> None:
    """The option that ties an instance to NUMA nodes."""
    parser.add_argument(
        "--numa-node",
        action="append",
        type=int,
        metavar="N",
        help="host NUMA node that the instance's memory is on; may be"
        " repeated (default: tied to none)",
    )


def nodes(parsed_args: argparse.Namespace) -> frozenset[int] | None:
    """The NUMA nodes that were named, or None."""
    named = parsed_args.numa_node
    return None if named is None else frozenset(named)


def asked(
    context: Context,
    parsed_args: argparse.Namespace,
    numa_nodes: frozenset[int] | None,
) -> Request:
    """What the options of ``add_request`` ask for.

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


class CandidateList(Lister):
    """List where a request would fit, best first.

    Ends with 1 when it fits nowhere.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_request(parser)
        add_host(parser)
        add_numa(parser)
        parser.add_argument(
            "--limit",
            type=int,
            default=10,
            choices=range(1, _MOST + 1),
            metavar="N",
            help=f"at most so many, up to {_MOST} (default: 10)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        request = asked(context, parsed_args, nodes(parsed_args))
        found = context.ledger.candidates(
            request, host=parsed_args.host, limit=parsed_args.limit
        )
        self.status = 0 if found else 1
        return COLUMNS, rows(
            *(
                (
                    c.host,
                    tuple(str(u.unit.key.address) for u in c.units),
                    c.score,
                )
                for c in found
            )
        )
