"""``unit``: the states of units; quarantine and clear one."""

from __future__ import annotations

import argparse
from typing import Any

from gpu_passthrough_plugin.cli.command import Lister, Shower, rows
from gpu_passthrough_plugin.cli.inventory import MALFORMED
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.allocation import MalformedUnit
from gpu_passthrough_plugin.model.unit import UnitKey, UnitRecord

COLUMNS = ("Unit", "State", "Reason")


def row(record: UnitRecord) -> tuple[object, ...]:
    """Return a unit's row."""
    return (str(record.unit.key), str(record.state), record.reason)


def malformed_row(unit: MalformedUnit) -> tuple[object, ...]:
    """Return the row of a unit whose record is malformed."""
    return (
        f"{unit.host}/{unit.address}",
        MALFORMED,
        f"unit {unit.name}: {unit.problem}; {unit.remedy}",
    )


def parse_key(text: str, host: str) -> UnitKey:
    """Return the unit of ``[HOST/]ADDRESS``.

    :param host: the host when the text names none.
    :raises Invalid: when the address is not valid.
    """
    given_host, _, given_address = text.rpartition("/")
    return UnitKey(given_host or host, address.parse(given_address))


class UnitList(Lister):
    """List units with their states, and the reason for a quarantine."""

    reads_only = True

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        listing = self.context.ledger.listing()
        return COLUMNS, rows(
            *map(row, listing.records), *map(malformed_row, listing.malformed)
        )


class _UnitCommand(Shower):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "unit",
            metavar="[HOST/]ADDRESS",
            help="address of the unit's lowest primary function (default host:"
            " this one)",
        )
        return parser


class UnitQuarantine(_UnitCommand):
    """Take a free unit out of use."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--reason",
            default="by the operator",
            metavar="TEXT",
            help="shown wherever the unit is listed",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import inventory

        context = self.context
        key = parse_key(parsed_args.unit, context.settings.host)
        record = inventory.quarantine(
            context.host_context, key, parsed_args.reason
        )
        return self.fields(dict(zip(COLUMNS, row(record), strict=True)))


class UnitClear(_UnitCommand):
    """Check a quarantined unit of this host again, and free it."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import inventory

        context = self.context
        key = parse_key(parsed_args.unit, context.settings.host)
        record = inventory.clear(context.host_context, key)
        return self.fields(dict(zip(COLUMNS, row(record), strict=True)))
