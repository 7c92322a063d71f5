"""What every ledger checks, whichever driver keeps it; pure."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.allocation.inventory import Publication
from gpu_passthrough_plugin.model.allocation import Allocation, HostRecord
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    TRANSITIONS,
    State,
    UnitKey,
    UnitRecord,
)


def consumer_uuid(text: str) -> str:
    """Return a consumer's UUID as every ledger stores it, in lower case.

    :raises Invalid: when ``text`` is not a UUID.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise refusals.consumer_invalid(text) from error


def require_same_machine(stored: str, publication: Publication) -> None:
    """Raise if another machine published under the same host name.

    :param stored: the machine that published last; empty when not known.
    :raises Refused: when it is another, and is not to be replaced.
    """
    if publication.replaces or not publication.machine:
        return
    if stored not in ("", publication.machine):
        raise refusals.host_name_taken(publication.host)


def require_cordon(record: HostRecord, expected: str | None) -> None:
    """Raise if a host is not cordoned for the expected reason.

    :param expected: empty for a host that is not cordoned; None for any.
    :raises Conflict: when it is not.
    """
    if expected is None:
        return
    if (record.is_cordoned, record.reason) != (bool(expected), expected):
        raise refusals.cordon_changed(record)


def require_edge(record: UnitRecord, state: State) -> None:
    """Raise if a unit cannot move from its state to another.

    :raises Refused: when there is no such edge, or only a claim takes it.
    """
    if (record.state, state) == (State.FREE, State.CLAIMED):
        raise refusals.unit_only_claimed(record.unit.key)
    if state not in TRANSITIONS[record.state]:
        possible = [s for s in State if s in TRANSITIONS[record.state]]
        raise refusals.unit_cannot_become(record, state, possible)


def require_same_units(
    allocation: Allocation, keys: Collection[UnitKey]
) -> None:
    """Raise if a consumer holds other units than the given ones.

    :raises Refused: when it does.
    """
    if {record.unit.key for record in allocation.units} != set(keys):
        raise refusals.consumer_holds_other(
            allocation.consumer, allocation.request, allocation.host
        )


def require_whole(allocation: Allocation, request: Request) -> None:
    """Raise if a consumer holds fewer functions than it requested.

    Some of its units were freed since, or their records cannot be read.

    :raises Refused: when it does.
    """
    held = sum(len(record.unit.primaries) for record in allocation.units)
    if held < sum(item.count for item in request.items):
        raise refusals.consumer_holds_other(
            allocation.consumer, f"only a part of {request}", allocation.host
        )


def require_claimable(
    keys: Collection[UnitKey], records: Collection[UnitRecord]
) -> None:
    """Raise if one of the given units cannot be claimed.

    :param records: those of the given units that the ledger has.
    :raises Refused: when it does not have one of them.
    :raises Conflict: when one is not free, or its host no longer shows it.
    """
    for key in sorted(set(keys) - {record.unit.key for record in records}):
        raise refusals.unit_unknown(key)
    for record in records:
        if not record.is_claimable:
            raise refusals.unit_not_free(record)
