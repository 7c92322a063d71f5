"""Writing what a host supplies, as ``allocation.capacity`` counts it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation import capacity
from gpu_passthrough_plugin.allocation.capacity import Card
from gpu_passthrough_plugin.allocation.sql import rows, statements
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    State,
    Unit,
    UnitRecord,
)

Cards = Mapping[Card, int]


def read(connection: sa.Connection) -> Cards:
    """Every card that the ledger has; none is ever removed."""
    return {
        Card(row.vendor_id, row.product_id, DeviceType(row.device_type)): (
            row.id
        )
        for row in connection.execute(statements.CARDS)
    }


def with_ids(connection: sa.Connection, wanted: Iterable[Card]) -> Cards:
    """The cards, after those that are new were added."""
    wanted = frozenset(wanted)
    known = read(connection)
    new = sorted(wanted - known.keys())
    if not new:
        return known
    connection.execute(
        statements.ADD_CARDS,
        [
            {
                "vendor_id": card.vendor_id,
                "product_id": card.product_id,
                "device_type": card.device_type.value,
            }
            for card in new
        ],
    )
    return read(connection)


def is_offered(record: UnitRecord) -> bool:
    """Whether a unit may be claimed."""
    return record.state is State.FREE and not record.is_missing


def change(
    connection: sa.Connection,
    host_id: int,
    known: Cards,
    free: Collection[Unit],
    taken: Collection[Unit],
    changed: Collection[Unit],
) -> None:
    """Write what ``changed``, now among the free or the taken, changes.

    :param free: the host's free units; :param taken: its other units.
    """
    before = capacity.count(_toggled(free, changed), (*free, *taken))
    after = capacity.count(free, (*free, *taken))
    moved = sorted(key for key in after if after[key] != before[key])
    if not moved:
        return
    if not all(card in known for card, _ in moved):
        known = read(connection)
    bound: dict[str, int] = {"of_host": host_id}
    for number, (card, place) in enumerate(moved):
        bound[f"card_{number}"] = known[card]
        bound[f"place_{number}"] = place
        bound[f"free_{number}"] = after[card, place]
    result = connection.execute(statements.supply_update(len(moved)), bound)
    if result.rowcount != len(moved):
        # Another release's code wrote here: count again from the start.
        rewrite(connection, host_id, free, taken)


def _toggled(free: Collection[Unit], changed: Collection[Unit]) -> list[Unit]:
    """What was free before."""
    keys = {unit.key for unit in changed}
    was = [unit for unit in free if unit.key not in keys]
    now = {unit.key for unit in free}
    return was + [unit for unit in changed if unit.key not in now]


def correct(
    connection: sa.Connection,
    host_id: int,
    free: Collection[Unit],
    taken: Collection[Unit],
) -> None:
    """Write all that a host supplies, if the ledger counts otherwise."""
    bound = {"host_id": host_id}
    names = {key: card for card, key in read(connection).items()}
    found = {
        (names[row.card_id], row.place): row.free
        for row in connection.execute(statements.SUPPLY, bound)
    }
    if found != capacity.count(free, (*free, *taken)):
        rewrite(connection, host_id, free, taken)


def rewrite(
    connection: sa.Connection,
    host_id: int,
    free: Collection[Unit],
    taken: Collection[Unit],
) -> None:
    """Write all that a host supplies.

    :param free: its free units; none when nothing of it is offered.
    :param taken: its other units.
    """
    counted = capacity.count(free, (*free, *taken))
    bound = {"host_id": host_id}
    connection.execute(statements.REMOVE_SUPPLY, bound)
    if not counted:
        return
    known = with_ids(connection, (card for card, _ in counted))
    connection.execute(
        statements.ADD_SUPPLY,
        [
            bound | {"card_id": known[card], "place": place, "free": number}
            for (card, place), number in sorted(counted.items())
        ],
    )


def count(
    connection: sa.Connection, host_id: int, *, is_disabled: bool
) -> None:
    """Write what a host supplies; nothing, where it is disabled."""
    found = rows.stored(
        connection.execute(statements.FREE_AND_TAKEN, {"host_id": host_id})
    )
    units = [s.record for s in found]
    offered = [r.unit for r in units if is_offered(r) and not is_disabled]
    keys = {unit.key for unit in offered}
    rewrite(
        connection,
        host_id,
        offered,
        [r.unit for r in units if r.unit.key not in keys],
    )
