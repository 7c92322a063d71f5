"""What an event of the audit record says: one transition of a unit or host.

Every ledger's events have the same fields.  Texts are bounded and printable
from the start, so that no reader has to fear a line of them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.reading import printable

ABSENT = "absent"
"""The state of a unit that the ledger does not have."""
MALFORMED = "malformed"
"""The state of a unit whose record cannot be read."""
OFFERED, CORDONED = "offered", "cordoned"
"""The states of a host."""

MAX_TIME_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999, counted from 1970 in UTC."""
MAX_GENERATION = 2**31 - 1
MAX_UID = 2**32 - 1
MAX_LINE_BYTES = 16 * 1024
"""More than the longest line of an event has."""

# As long as the ledger's columns.
_LENGTHS = {
    "host": 255,
    "address": 16,
    "before_state": 16,
    "after_state": 16,
    "consumer": 36,
    "consumer_name": 255,
    "reason": 1024,
    "command": 64,
    "command_host": 255,
    "user_name": 64,
}
_CUT = "…"


@dataclasses.dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something.

    :param command: its words as typed, without any value, such as
        ``instance release``, or ``hook prepare``.
    :param host: where it runs.
    :param user: the name of the person's account, also behind sudo; empty
        when not known.
    :param uid: of that account; None when not known.
    """

    command: str = ""
    host: str = ""
    user: str = ""
    uid: int | None = None


class Transition(NamedTuple):
    """One change of a unit, or of a host (an empty ``address``).

    :param before: the state that it had; empty when not known.
    :param generation: of the unit afterwards, or of the host.
    :param reason: why; empty when the command says enough.
    """

    host: str
    address: str
    before: str
    after: str
    generation: int
    consumer: str | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A transition, when it happened, and who made it.

    :param time_us: microseconds since 1970 in UTC, by the clock of the host
        where the command ran.
    :param consumer_name: of the consumer; empty when not known.
    """

    time_us: int
    transition: Transition
    consumer_name: str
    actor: Actor

    @property
    def unit(self) -> str:
        """``HOST/ADDRESS``, or ``HOST`` for an event of a host."""
        host, address, *_ = self.transition
        return f"{host}/{address}" if address else host


class EventQuery(NamedTuple):
    """Which events to read.

    :param host: of the unit; None for any.
    :param address: of the unit on that host; None for any.
    :param consumer: its UUID or name; None for any.
    :param since_us: as ``Event.time_us``.
    :param limit: the newest so many of them; 0 for all.
    """

    host: str | None = None
    address: str | None = None
    consumer: str | None = None
    since_us: int = 0
    limit: int = 0


def of_present_state(events: Sequence[Event], state: str) -> tuple[Event, ...]:
    """Return a unit's events since it is in its present state, oldest first.

    The first is the one that brought it there, later ones gave another
    reason for it.  None where what is kept begins later, or the unit moved
    on since.

    :param events: of one unit, oldest first.
    """
    present: list[Event] = []
    for event in events:
        transition = event.transition
        if transition.after != state:
            present = []
        elif transition.before != state:
            present = [event]
        elif present:
            present.append(event)
    return tuple(present)


class EventListing(NamedTuple):
    """Events, oldest first.

    :param malformed: a line for each event that cannot be read.
    :param has_more: whether older ones match that the limit left out.
    """

    events: tuple[Event, ...]
    malformed: tuple[str, ...] = ()
    has_more: bool = False


class Retention(NamedTuple):
    """How many events are kept.

    :param days: how old they get; 0 for any age.
    :param number: the newest so many; 0 for any number.
    """

    days: int = 365
    number: int = 100_000

    def oldest_us(self, now_us: int) -> int:
        """Return the time of the oldest event to keep."""
        if not self.days:
            return 0
        return max(0, now_us - self.days * 86_400_000_000)


class EventLog(Protocol):
    """Where events are kept for a ledger that has no place for them."""

    def append(self, events: Sequence[Event]) -> None:
        """Add events; they are on the disk on return.

        :raises Unavailable: when they cannot be written.
        """

    def read(self, query: EventQuery) -> EventListing:
        """Return events.

        :raises Unavailable: when they cannot be read.
        """


def fields(event: Event) -> dict[str, object]:
    """Return an event as flat values: a database's row, or a JSON object.

    Texts are escaped and cut to their bounds.
    """
    transition, actor = event.transition, event.actor
    values: dict[str, object] = {
        "time_us": event.time_us,
        "host": transition.host,
        "address": transition.address,
        "before_state": transition.before,
        "after_state": transition.after,
        "generation": transition.generation,
        "consumer": transition.consumer,
        "consumer_name": event.consumer_name,
        "reason": transition.reason,
        "command": actor.command,
        "command_host": actor.host,
        "user_name": actor.user,
        "uid": actor.uid,
    }
    for name, length in _LENGTHS.items():
        value = values[name]
        if isinstance(value, str):
            values[name] = _cut(value, length)
    return values


def _cut(text: str, length: int) -> str:
    text = printable(text)
    return text if len(text) <= length else text[: length - 1] + _CUT


def from_fields(values: Mapping[str, object]) -> Event:
    """Return the event that ``fields`` gave these values of.

    :raises Invalid: when one is malformed.
    """
    consumer = values.get("consumer")
    uid = values.get("uid")
    return Event(
        _number(values, "time_us", MAX_TIME_US),
        Transition(
            host=_text(values, "host"),
            address=_text(values, "address"),
            before=_text(values, "before_state"),
            after=_text(values, "after_state"),
            generation=_number(values, "generation", MAX_GENERATION),
            consumer=None if consumer is None else _text(values, "consumer"),
            reason=_text(values, "reason"),
        ),
        _text(values, "consumer_name"),
        Actor(
            _text(values, "command"),
            _text(values, "command_host"),
            _text(values, "user_name"),
            None if uid is None else _number(values, "uid", MAX_UID),
        ),
    )


def _number(values: Mapping[str, object], name: str, most: int) -> int:
    value = values.get(name)
    # JSON's true is a number to Python.
    if type(value) is int and 0 <= value <= most:
        return value
    raise errors.not_valid(name, value, f"a number from 0 to {most}")


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    length = _LENGTHS[name]
    if isinstance(value, str) and len(value) <= length and value.isprintable():
        return value
    raise errors.not_valid(
        name, value, f"printable text of at most {length} characters"
    )


def line(event: Event) -> str:
    """Return an event as one line of JSON, with its newline."""
    return f"{json.dumps(fields(event), separators=(',', ':'))}\n"


def from_line(text: str) -> Event:
    """Return the event of a line.

    :raises Invalid: when it is malformed.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.not_valid("line", text, "a JSON object") from error
    if not isinstance(values, dict):
        raise errors.not_valid("line", text, "a JSON object")
    return from_fields(values)


def select(
    events: Iterable[Event], query: EventQuery
) -> tuple[tuple[Event, ...], bool]:
    """Return the events that match, and whether the limit left out more.

    One that was written twice counts once, and a consumer has the name that
    any of its events has.

    :param events: oldest first.
    """
    unique = _unique(events)
    names = {
        event.transition.consumer: event.consumer_name
        for event in unique
        if event.consumer_name
    }
    named = [
        event
        if event.consumer_name or event.transition.consumer not in names
        else dataclasses.replace(
            event, consumer_name=names[event.transition.consumer]
        )
        for event in unique
    ]
    matching = [event for event in named if _matches(event, query)]
    start = max(0, len(matching) - query.limit) if query.limit else 0
    return tuple(matching[start:]), start > 0


def _unique(events: Iterable[Event]) -> list[Event]:
    """Return the events without repetitions: a claim may be repeated.

    Each transition of a unit has a generation of its own.
    """
    seen: set[tuple[str, str, int, str]] = set()
    unique = []
    for event in events:
        transition = event.transition
        key = (
            transition.host,
            transition.address,
            transition.generation,
            transition.after,
        )
        if transition.address and key in seen:
            continue
        seen.add(key)
        unique.append(event)
    return unique


def _matches(event: Event, query: EventQuery) -> bool:
    transition = event.transition
    return (
        query.host in (None, transition.host)
        and query.address in (None, transition.address)
        and query.consumer
        in (None, transition.consumer, event.consumer_name or None)
        and event.time_us >= query.since_us
    )
