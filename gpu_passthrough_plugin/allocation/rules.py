"""What every driver holds to, and says in the same words: pure."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection

from gpu_passthrough_plugin import errors
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
    raise errors.Refused(
        f"another machine published units as host {shown.host}: give this one"
        " a name of its own ([DEFAULT] host); or, when it has taken the"
        " other's place, run 'gpu-passthrough inventory sync --replace'"
    )


def require_edge(record: UnitRecord, state: State) -> None:
    """Return when a unit's life has that edge.

    :raises Refused: when it has not, or only a claim takes it.
    """
    key, now = record.unit.key, record.state
    if (now, state) == (State.FREE, State.CLAIMED):
        raise errors.Refused(
            f"unit {key} is free, and only a claim for a consumer takes it;"
            " run gpu-passthrough allocation create"
        )
    if state not in EDGES[now]:
        possible = ", ".join(s for s in State if s in EDGES[now])
        raise errors.Refused(
            f"unit {key} is {now} and cannot become {state} from there;"
            f" possible: {possible}"
        )


def gone(key: UnitKey) -> errors.Refused:
    """What to say of a unit that the ledger has not."""
    return errors.Refused(
        f"the ledger has no unit {key}; see 'gpu-passthrough inventory list'"
    )


def require_same(held: Allocation, keys: Collection[UnitKey]) -> None:
    """Return when a consumer holds these very units.

    :raises Refused: when it holds others.
    """
    if {record.unit.key for record in held.units} != set(keys):
        raise errors.Refused(
            f"consumer {held.consumer} holds {held.request} on host"
            f" {held.host}; release that before it claims anything else"
        )


def require_enabled(host: str, disabled_reason: str | None) -> None:
    """Return when a host's units are offered.

    :raises Refused: when they are not.
    """
    if disabled_reason is not None:
        raise errors.Refused(
            f"host {host} is disabled ({disabled_reason}); see"
            " 'gpu-passthrough inventory hosts'"
        )


def faster(record: UnitRecord) -> errors.Conflict:
    """What to say of a unit that was to be taken, and is not free."""
    return errors.Conflict(
        f"unit {record.unit.key} is not free by now; see 'gpu-passthrough"
        " inventory list'"
    )


def consumer(text: str) -> str:
    """A consumer's UUID as every ledger keeps it, in lower case.

    :raises Invalid: when it is none.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise errors.Invalid(
            f"consumer {text!r} is no UUID; wanted such as"
            " 5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
        ) from error
