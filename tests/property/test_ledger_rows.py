"""Whatever is in a row of one host: no other host notices it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import schema
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.unit import State
from tests.unit.allocation.build import NIC, request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
EVIL, GOOD = "evil", "good"
# The rows of host "evil", or of nobody.
ROWS = {
    "host": "id = 1",
    "host_aggregate": "host_id = 1",
    "unit": "host_id = 1",
    "unit_function": "host_id = 1",
    "card": "product_id = 4119",
    "supply": "host_id = 1",
    "consumer": "host_id = 1",
    "event": "host = 'evil'",
}
CELLS = [
    (table.name, column.name)
    for table in schema.metadata.sorted_tables
    for column in table.columns
    if table.name in ROWS and not column.name.endswith("id")
] + [("unit_function", "vendor_id"), ("consumer", "uuid")]
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([-3, -2, -1, 0, 1, 2, 2**31 - 1, 65536]),
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.binary(max_size=8),
    st.sampled_from(["0000:02:00.0", "0000:0A:00.0", "active", "free", "x y"]),
)
ACTS: list[Callable[[SqlLedger], Any]] = [
    lambda ledger: ledger.events(EventQuery()),
    lambda ledger: ledger.hosts(),
    lambda ledger: ledger.host(EVIL),
    lambda ledger: ledger.listing(),
    lambda ledger: ledger.allocations(),
    lambda ledger: ledger.allocation(A),
    lambda ledger: ledger.claim(request("gpu:1"), A),
    lambda ledger: ledger.candidates(request("nic:1")),
    lambda ledger: ledger.claim(request("nic:1"), B, host=EVIL),
    lambda ledger: ledger.claim_units([unit(1, host=EVIL).key], B, "x"),
    lambda ledger: [
        ledger.move(record, State.QUARANTINED)
        for record in ledger.records(host=EVIL, states=[State.FREE])
    ],
    lambda ledger: ledger.cordon(EVIL, "x"),
    lambda ledger: ledger.uncordon(EVIL),
    lambda ledger: ledger.publish(EVIL, [unit(1, host=EVIL, node=1)]),
    lambda ledger: ledger.publish(EVIL, []),
]


@pytest.fixture(scope="module")
def ledger() -> SqlLedger:
    """A ledger in memory; each example puts its rows there again."""
    made = SqlLedger(LedgerSettings("sqlite://"))
    made.sync()
    return made


def fill(ledger: SqlLedger) -> None:
    """Make the ledger what it was: a host that is to be spoilt, and one."""
    with ledger.database.engine.begin() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(table.delete())
    ledger.publish(
        EVIL,
        [unit(1, host=EVIL), unit(2, NIC, host=EVIL), unit(3, host=EVIL)],
        aggregates=frozenset({"rack"}),
    )
    ledger.publish(GOOD, [unit(1, host=GOOD), unit(2, NIC, host=GOOD)])
    ledger.claim(request("gpu:1"), A, host=EVIL)


def spoil(ledger: SqlLedger, cell: tuple[str, str], value: object) -> None:
    """Write a value into a cell of each row of host "evil"."""
    table, column = cell
    raw = ledger.database.engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute("PRAGMA ignore_check_constraints = ON")
    statement = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE "  # noqa: S608
    cursor.execute(statement + ROWS[table] + " LIMIT 1", (value,))
    cursor.execute("PRAGMA ignore_check_constraints = OFF")
    raw.close()


def require_good(ledger: SqlLedger) -> None:
    """Raise unless host "good" can do all that a host does."""
    listing = ledger.listing(host=GOOD)
    assert (len(listing.records), listing.malformed) == (2, ())
    assert [
        r for r in ledger.listing().records if r.unit.key.host == GOOD
    ] == [*listing.records]
    host = ledger.host(GOOD)
    assert host is not None
    assert not host.is_malformed
    assert host in ledger.hosts()
    keys = [record.unit.key for record in listing.records]
    held = ledger.claim_units(keys, B, "x")
    for record in held.units:
        ledger.move(record, State.FREE)
    # Its counts are right again, whatever became of a row of all hosts.
    held = ledger.claim(request("gpu:1,nic:1"), B, host=GOOD)
    for record in held.units:
        ledger.move(record, State.FREE)
    assert ledger.publish(GOOD, [unit(1, host=GOOD)]).removed


@settings(max_examples=120, deadline=None)
@given(cell=st.sampled_from(CELLS), value=VALUES)
@example(cell=("unit", "address"), value="zz")
@example(cell=("unit", "generation"), value=2**31 - 1)
@example(cell=("host", "name"), value=b"\xff")
@example(cell=("card", "device_type"), value="type-X")
@example(cell=("consumer", "request"), value=b"x")
def test_any_value_in_any_cell(
    ledger: SqlLedger, cell: tuple[str, str], value: object
) -> None:
    fill(ledger)
    try:
        spoil(ledger, cell, value)
    except sa.exc.DBAPIError:
        return
    require_good(ledger)
    for act in ACTS:
        try:
            act(ledger)
        except errors.Error as error:
            assert "\n" not in str(error)
