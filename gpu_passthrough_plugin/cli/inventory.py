"""``inventory`` and ``db``: the units of hosts, and the ledger's schema."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import agent_group
from gpu_passthrough_plugin.cli.command import (
    Command,
    Lister,
    Shower,
    rows,
)
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.model.agent_state import agent_state
from gpu_passthrough_plugin.model.allocation import (
    HostRecord,
    MalformedUnit,
    UnitListing,
)
from gpu_passthrough_plugin.model.unit import Unit, UnitRecord

COLUMNS = (
    "Host",
    "Unit",
    "Resource Class",
    "Type",
    "NUMA Node",
    "State",
    "Consumer",
    "Cordoned",
)
MALFORMED = "malformed"
"""The state of what the ledger has a malformed record of."""
NO_UNITS = (
    "the ledger has no units; run 'gpu-passthrough inventory sync' on each"
    " host, and see 'gpu-passthrough group list' there"
)
HOSTS = ("Host", "Generation", "Status", "Reason", "Aggregates")
HOSTS_AND_AGENTS = (*HOSTS, "Agent")
GIVEN_UP = ("Unit", "Was", "State", "Consumer")


Cordons = Mapping[str, str]
"""Why each cordoned host is cordoned, by its name."""


def cordons(hosts: Iterable[HostRecord]) -> Cordons:
    """Return why each cordoned host is cordoned, as the lists show it."""
    return {h.name: h.reason or "yes" for h in hosts if h.is_cordoned}


def device_types(unit: Unit) -> str:
    """Return Nova's types of a unit's primary functions, such as type-PF."""
    return ",".join(sorted({f.device_type.value for f in unit.primaries}))


def row(record: UnitRecord, cordoned: Cordons) -> tuple[object, ...]:
    """Return a unit's row."""
    unit = record.unit
    return (
        unit.key.host,
        str(unit.key.address),
        unit.resource_class,
        device_types(unit),
        unit.numa_node,
        "missing" if record.is_missing else str(record.state),
        record.consumer,
        cordoned.get(unit.key.host),
    )


def malformed_row(
    unit: MalformedUnit, cordoned: Cordons
) -> tuple[object, ...]:
    """Return the row of a unit whose record is malformed."""
    return (
        unit.host,
        unit.address,
        None,
        None,
        None,
        MALFORMED,
        unit.consumer,
        cordoned.get(unit.host),
    )


def listing_rows(listing: UnitListing, cordoned: Cordons) -> Any:
    """Return the rows of units; say what is wrong with malformed records."""
    for unit in listing.malformed:
        say(f"{unit}; no guest gets this unit: {unit.remedy}")
    return rows(
        *(row(record, cordoned) for record in listing.records),
        *(malformed_row(unit, cordoned) for unit in listing.malformed),
    )


def host_row(record: HostRecord) -> tuple[object, ...]:
    """Return a host's row."""
    status = "cordoned" if record.is_cordoned else "schedulable"
    return (
        record.name,
        record.generation,
        MALFORMED if record.is_malformed else status,
        record.reason,
        tuple(sorted(record.aggregates)),
    )


class InventorySync(Lister):
    """Publish this host's assignable units in the ledger.

    The exit status is 1 if another machine published under this host's name.
    """

    column_names = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--replace",
            action="store_true",
            help="replace the inventory of another machine that used this"
            " host name (after a reinstall or swap)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import inventory

        context = self.context.host_context
        report = inventory.publish(context, replaces=parsed_args.replace)
        context.say(
            f"{len(report.added)} added, {len(report.changed)} changed,"
            f" {len(report.removed)} removed, {len(report.missing)} missing;"
            f" {context.host} is at generation {report.generation}"
        )
        listing = context.ledger.listing(host=context.host)
        if not listing.malformed and all(
            record.is_missing for record in listing.records
        ):
            context.say(
                "warning: no group of this host is assignable; see"
                " 'gpu-passthrough group list' for the reasons"
            )
        own = context.ledger.host(context.host)
        cordoned = cordons(() if own is None else (own,))
        return COLUMNS, listing_rows(listing, cordoned)


class InventoryList(Lister):
    """List the units of every host."""

    reads_only = True
    empty = NO_UNITS

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        ledger = self.context.ledger
        listing = ledger.listing()
        return COLUMNS, listing_rows(listing, cordons(ledger.hosts()))


class InventoryHosts(Lister):
    """List every host that published units, and whether its agent answers."""

    reads_only = True
    empty = (
        "no host published units; run 'gpu-passthrough inventory sync' on each"
        " host"
    )

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        hosts = self.context.ledger.hosts()
        present = agent_group.members(self.context) if hosts else None
        return HOSTS_AND_AGENTS, rows(
            *(
                (*host_row(host), str(agent_state(host, present)))
                for host in hosts
            )
        )


def _add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "host",
        metavar="HOST",
        help="name of the host, as in 'inventory hosts'",
    )


class _HostCommand(Shower):
    column_names = HOSTS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_host(parser)
        return parser


class InventoryCordon(_HostCommand):
    """Cordon a host: no new allocations; existing ones stay."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--reason",
            metavar="TEXT",
            help="shown wherever the host is listed (default: the reason that"
            " it has, else 'by the operator')",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import inventory

        record = inventory.cordon(
            self.context.changed_ledger, parsed_args.host, parsed_args.reason
        )
        return self.fields(dict(zip(HOSTS, host_row(record), strict=True)))


class InventoryUncordon(_HostCommand):
    """Uncordon a host: its free units can be allocated again."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import inventory

        record = inventory.uncordon(
            self.context.changed_ledger, parsed_args.host
        )
        return self.fields(dict(zip(HOSTS, host_row(record), strict=True)))


class InventoryFence(Lister):
    """Say that a lost host is powered off, and give up what its guests have.

    Claims of which no guest was started are freed. Everything else is
    quarantined, because nothing was reset; the agent of the host checks and
    frees it when the host is back. It can be repeated.
    """

    column_names = GIVEN_UP
    empty = "The host holds no units."

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_host(parser)
        parser.add_argument(
            "--powered-off",
            action="store_true",
            help="you know that the host is off; needed where no agent marked"
            " it as lost",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import fence
        from gpu_passthrough_plugin.host import actor

        context, host = self.context, parsed_args.host
        ledger, own_host = context.changed_ledger, context.settings.host
        fence.require_fenceable(
            ledger.host(host),
            host,
            own_host,
            agent_group.members(context),
            is_powered_off=parsed_args.powered_off,
        )
        by = actor.current("inventory fence", own_host).user or "the operator"
        given_up = fence.fence(ledger, host, f"{by} on {own_host}", say)
        return GIVEN_UP, rows(
            *(
                (
                    str(unit.after.unit.key),
                    str(unit.before.state),
                    str(unit.after.state),
                    unit.before.consumer,
                )
                for unit in given_up
            )
        )


class DbSync(Command):
    """Create the ledger's schema, or upgrade it to this release's."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        ledger = self.context.changed_ledger
        try:
            before = ledger.version()
        except errors.Unavailable:
            before = ""  # no file yet; else sync() says why
        version = ledger.sync()
        name = f"ledger {ledger.location}"
        if not before:
            say(f"created {name}, schema {version}")
        elif before != version:
            say(f"upgraded {name} from schema {before} to {version}")
        else:
            say(f"{name} is up to date, schema {version}")
