"""``event list`` and ``unit history``: the audit record."""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from cliff.formatters import base

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.command import Lister, number_from_zero, rows
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.cli.unit import add_unit, named_unit, parse_key
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.model.event import Actor, Event, EventQuery

COLUMNS = (
    "Time",
    "Unit",
    "From",
    "To",
    "Consumer",
    "Name",
    "Reason",
    "Command",
    "Host",
    "User",
)
_LIMIT = 100
# How many malformed events a listing names.
_NAMED_EVENTS = 20


def row(event: Event) -> tuple[object, ...]:
    """Return an event's row."""
    transition = event.transition
    return (
        timestamp.shown(event.time_us),
        event.unit,
        transition.before,
        transition.after,
        transition.consumer,
        event.consumer_name,
        transition.reason,
        event.actor.command,
        event.actor.host,
        _user(event.actor),
    )


def _user(actor: Actor) -> str:
    """Return an account as ``NAME (UID)``, as far as it is known."""
    if actor.uid is None:
        return actor.user
    return f"{actor.user} ({actor.uid})" if actor.user else str(actor.uid)


class JsonLines(base.ListFormatter):
    """One JSON object a line, which other programs append and search."""

    def add_argument_group(self, parser: argparse.ArgumentParser) -> None:
        """Add no option."""

    def emit_list(
        self,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        for fields in data:
            values = [field.machine_readable() for field in fields]
            document = dict(zip(column_names, values, strict=True))
            stdout.write(f"{json.dumps(document)}\n")


def _since(text: str) -> int:
    """Return a time from the command line, in microseconds since 1970.

    :raises ArgumentTypeError: when it is neither an age nor a date.
    """
    try:
        return timestamp.parse_since(text, time.time_ns() // 1000)
    except errors.Invalid as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class EventCommand(Lister):
    """A command that lists events."""

    reads_only = True
    column_names = COLUMNS
    empty = "no event matches"

    def formats(self) -> dict[str, Any]:
        return {**super().formats(), "jsonl": JsonLines}

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--since",
            type=_since,
            default=0,
            metavar="TIME",
            help="only events since a date and time (UTC), such as"
            " 2026-11-30T16:20, or of an age, such as 2h or 7d",
        )
        parser.add_argument(
            "--limit",
            type=number_from_zero,
            default=_LIMIT,
            metavar="N",
            help=f"the newest N (default: {_LIMIT}); 0 for all",
        )
        return parser

    def answer(self, query: EventQuery) -> Any:
        """Return the rows of the events, and say what they leave out."""
        listing = self.context.ledger.events(query)
        for line in listing.malformed[:_NAMED_EVENTS]:
            say(f"left out: {line}")
        more = len(listing.malformed) - _NAMED_EVENTS
        if more > 0:
            say(f"left out: {more} more malformed events")
        if listing.has_more:
            say(
                f"only the newest {query.limit} events are listed; use --limit"
                " 0 for all"
            )
        return COLUMNS, rows(*map(row, listing.events))


class EventList(EventCommand):
    """List what happened to units, when, why, and by whom; newest last.

    '-f jsonl' prints one JSON object a line.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--unit",
            metavar="[HOST/]ADDRESS",
            help="only events of this unit (default host: that of --host, else"
            " this one)",
        )
        parser.add_argument(
            "--consumer",
            metavar="UUID|NAME",
            help="only events of this consumer",
        )
        parser.add_argument(
            "--host",
            metavar="HOST",
            help="only events of this host and its units (default: any)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        host, address = parsed_args.host, None
        if parsed_args.unit is not None:
            key = parse_key(
                parsed_args.unit, host or self.context.settings.host
            )
            if host not in (None, key.host):
                raise errors.Invalid(
                    f"--unit {parsed_args.unit} is of host {key.host}, and"
                    f" --host is {host}; expected one host"
                )
            host, address = key.host, str(key.address)
        return self.answer(
            EventQuery(
                host=host,
                address=address,
                consumer=_consumer(parsed_args.consumer),
                since_us=parsed_args.since,
                limit=parsed_args.limit,
            )
        )


class UnitHistory(EventCommand):
    """List what happened to a unit, when, why, and by whom; newest last."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_unit(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        key = named_unit(self.context, parsed_args.unit)
        return self.answer(
            EventQuery(
                host=key.host,
                address=str(key.address),
                since_us=parsed_args.since,
                limit=parsed_args.limit,
            )
        )


def _consumer(text: str | None) -> str | None:
    """Return a UUID as ledgers have it, and a name as it is."""
    if text is None:
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return text
