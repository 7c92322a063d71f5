"""What every driver holds to, and says in the same words: pure."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection

from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.unit import (
    EDGES,
    State,
    Unit,
    UnitKey,
    UnitRecord,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """What a host publishes of itself.

    :param machine: what tells it from another of its name, if known.
    :param replaces: whether it takes another machine's place.
    """

    host: str
    units: tuple[Unit, ...]
    aggregates: frozenset[str]
    machine: str
    replaces: bool


def require_machine(known: str, shown: Shown) -> None:
    """Return when it is the machine that published before.

    :param known: that machine; empty when nothing is known of it.
    :raises Refused: when it is another.
    """
    if known in ("", shown.machine) or not shown.machine or shown.replaces:
        return
    raise refusals.host_name_taken(shown.host)


def require_edge(record: UnitRecord, state: State) -> None:
    """Return when a unit's life has that edge.

    :raises Refused: when it has not, or only a claim takes it.
    """
    if (record.state, state) == (State.FREE, State.CLAIMED):
        raise refusals.unit_only_claimed(record.unit.key)
    if state not in EDGES[record.state]:
        possible = [s for s in State if s in EDGES[record.state]]
        raise refusals.unit_cannot_become(record, state, possible)


def require_same(held: Allocation, keys: Collection[UnitKey]) -> None:
    """Return when a consumer holds these very units.

    :raises Refused: when it holds others.
    """
    if {record.unit.key for record in held.units} != set(keys):
        raise refusals.consumer_holds_other(
            held.consumer, held.request, held.host
        )


def require_enabled(host: str, disabled_reason: str | None) -> None:
    """Return when a host's units are offered.

    :raises Refused: when they are not.
    """
    if disabled_reason is not None:
        raise refusals.host_cordoned(host, disabled_reason)


def consumer(text: str) -> str:
    """A consumer's UUID as every ledger keeps it, in lower case.

    :raises Invalid: when it is none.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise refusals.consumer_invalid(text) from error
