"""The cards that some host has, by the ids of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation.sql import statements
from gpu_passthrough_plugin.allocation.supply import Card
from gpu_passthrough_plugin.model.unit import DeviceType

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
