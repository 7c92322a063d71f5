"""``unit``: the states of units; quarantine and clear one."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from gpu_passthrough_plugin.cli import task
from gpu_passthrough_plugin.cli.command import Lister, Shower, rows
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.inventory import (
    MALFORMED,
    NO_UNITS,
    Cordons,
    cordons,
    device_types,
)
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.allocation import MalformedUnit
from gpu_passthrough_plugin.model.event import EventQuery, of_present_state
from gpu_passthrough_plugin.model.host_task import TaskKind
from gpu_passthrough_plugin.model.reset_family import family
from gpu_passthrough_plugin.model.unit import Unit, UnitKey, UnitRecord

COLUMNS = ("Unit", "State", "Reason", "Type", "Cordoned")
CHECK_COLUMNS = ("Step", "Result", "Detail")
_CHECK_RESULTS = {True: "passed", False: "failed", None: "not reached"}


def row(record: UnitRecord, cordoned: Cordons) -> tuple[object, ...]:
    """Return a unit's row."""
    unit = record.unit
    return (
        str(unit.key),
        str(record.state),
        record.reason,
        device_types(unit),
        cordoned.get(unit.key.host),
    )


def malformed_row(
    unit: MalformedUnit, cordoned: Cordons
) -> tuple[object, ...]:
    """Return the row of a unit whose record is malformed."""
    return (
        f"{unit.host}/{unit.address}",
        MALFORMED,
        f"unit {unit.name}: {unit.problem}; {unit.remedy}",
        None,
        cordoned.get(unit.host),
    )


def _reset_faults(unit: Unit) -> Iterator[str]:
    for function in unit.functions:
        row = family(function.vendor_id, function.product_id)
        if row is not None:
            yield f"{function.address}: {row.behaviour}; {row.remedy}"


def parse_key(text: str, host: str) -> UnitKey:
    """Return the unit of ``[HOST/]ADDRESS``.

    :param host: the host when the text names none.
    :raises Invalid: when the address is not valid.
    """
    given_host, _, given_address = text.rpartition("/")
    return UnitKey(given_host or host, address.parse_typed(given_address))


def key_of_member(key: UnitKey, records: Iterable[UnitRecord]) -> UnitKey:
    """Return the unit that has a function; the key itself if none has.

    :param key: the host, and the address of any function.
    :param records: the host's units.
    """
    units = [record.unit for record in records]
    if any(unit.key == key for unit in units):
        return key
    for unit in units:
        if key.address in {f.address for f in unit.functions}:
            return unit.key
    return key


def add_unit(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a unit; see ``named_unit``."""
    parser.add_argument(
        "unit",
        metavar="[HOST/]ADDRESS",
        help="address of any function of the unit (default host: this one)",
    )


def named_unit(context: Context, text: str) -> UnitKey:
    """Return the unit that the operator named by one of its functions.

    As it was named, where the ledger has no such unit now.
    """
    key = parse_key(text, context.settings.host)
    listing = context.ledger.listing(host=key.host)
    return key_of_member(key, listing.records)


class UnitList(Lister):
    """List units with their states, and the reason for a quarantine."""

    reads_only = True
    empty = NO_UNITS

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        ledger = self.context.ledger
        listing = ledger.listing()
        cordoned = cordons(ledger.hosts())
        return COLUMNS, rows(
            *(row(record, cordoned) for record in listing.records),
            *(malformed_row(unit, cordoned) for unit in listing.malformed),
        )


class UnitShow(Shower):
    """Show a unit: its state with the reason and since when, and its cards."""

    reads_only = True
    column_names = (
        "Unit",
        "State",
        "Since",
        "Reason",
        "Former Reasons",
        "Consumer",
        "Type",
        "Functions",
        "Reset Faults",
        "Cordoned",
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_unit(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        ledger = self.context.ledger
        key = named_unit(self.context, parsed_args.unit)
        record = ledger.unit(key)
        query = EventQuery(key.host, str(key.address))
        present = of_present_state(ledger.events(query).events, record.state)
        reasons = [event.transition.reason for event in present]
        host = ledger.host(key.host)
        functions = record.unit.functions
        values = (
            str(key),
            str(record.state),
            timestamp.shown(present[0].time_us) if present else None,
            record.reason or (reasons[-1] if reasons else ""),
            tuple(reasons[:-1]),
            record.consumer,
            device_types(record.unit),
            tuple(str(f.address) for f in functions),
            tuple(_reset_faults(record.unit)),
            cordons(() if host is None else (host,)).get(key.host),
        )
        return self.fields(dict(zip(self.column_names, values, strict=True)))


class _UnitCommand(Shower):
    column_names = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_unit(parser)
        return parser

    def record_fields(self, record: UnitRecord) -> Any:
        """Return what is shown of a unit."""
        host = self.context.ledger.host(record.unit.key.host)
        shown = row(record, cordons(() if host is None else (host,)))
        return self.fields(dict(zip(COLUMNS, shown, strict=True)))


class UnitQuarantine(_UnitCommand):
    """Take a free unit out of use, or say why a quarantined one is.

    A new reason replaces the one that a quarantined unit has.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--reason",
            metavar="TEXT",
            help="shown wherever the unit is listed (default: the reason that"
            " it has, else 'by the operator')",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import inventory

        context = self.context.host_context
        key = named_unit(self.context, parsed_args.unit)
        record = inventory.quarantine(context, key, parsed_args.reason)
        return self.record_fields(record)


class UnitClear(_UnitCommand):
    """Check a quarantined unit again, and free it.

    The agent of another host is asked to do that with a unit there.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        task.add_wait(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        own_host = self.context.settings.host
        if parse_key(parsed_args.unit, own_host).host != own_host:
            return self._elsewhere(parsed_args)
        from gpu_passthrough_plugin.flow import inventory

        context = self.context.host_context
        key = named_unit(self.context, parsed_args.unit)
        return self.record_fields(inventory.clear(context, key))

    def _elsewhere(self, parsed_args: argparse.Namespace) -> Any:
        """Have another host's agent do it."""
        ledger = self.context.changed_ledger
        key = named_unit(self.context, parsed_args.unit)
        address, wait_s = str(key.address), parsed_args.wait
        task.ask(self.context, key.host, TaskKind.CLEAR, address, wait_s)
        return self.record_fields(ledger.unit(key))


class UnitCheck(Lister):
    """Reset a unit that no instance has, and see whether it does as before.

    Binds it to a VFIO driver, resets it, reads its config space, compares
    link and errors, and returns it to its drivers. A free unit that fails is
    quarantined. The exit status is 1 if a step fails.
    """

    column_names = CHECK_COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_unit(parser)
        parser.add_argument(
            "--clear",
            action="store_true",
            help="free a suspect unit that passes",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import unit_check

        context = self.context.host_context
        key = named_unit(self.context, parsed_args.unit)
        checked = unit_check.check(context, key, clears=parsed_args.clear)
        self.status = int(not checked.is_passed)
        return CHECK_COLUMNS, rows(
            *(
                (step.name, _CHECK_RESULTS[step.is_passed], step.detail)
                for step in checked.steps
            )
        )
