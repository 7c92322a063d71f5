"""The ledger behind Galera: claims on two nodes at once.

A node's locks are its own.  Two nodes may both hold a host and take a
unit; at COMMIT one of them is told of a deadlock and does it again.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.servers import galera
from tests.unit.allocation.build import request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
ROUNDS = 60
CLIENTS = 2


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[galera.Node, galera.Node]]:
    with galera.cluster() as members:
        assert [n.status("wsrep_cluster_size") for n in members] == ["2", "2"]
        yield members


@pytest.fixture
def ledgers(
    nodes: tuple[galera.Node, galera.Node],
) -> Iterator[tuple[SqlLedger, SqlLedger]]:
    """One ledger, seen through either node."""
    name = str(sa.make_url(nodes[0].new_database()).database)
    opened = tuple(SqlLedger(LedgerSettings(n.url_of(name))) for n in nodes)
    opened[0].sync()
    require(lambda: bool(opened[1].version()))
    yield opened[0], opened[1]
    for ledger in opened:
        ledger.close()


def require(is_there: Callable[[], bool]) -> None:
    """Returns once what one node did has come to the other."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if is_there():
                return
        except errors.Unavailable:
            pass
        time.sleep(0.02)
    raise AssertionError("the other node does not have it")


def test_either_node_has_it(ledgers: tuple[SqlLedger, SqlLedger]) -> None:
    first, second = ledgers
    first.publish("h", [unit(1), unit(2)])
    require(lambda: len(second.records()) == 2)
    held = second.claim(request("gpu:1"), A)
    require(lambda: first.allocations() == (held,))
    # A claim whose answer was lost may be repeated on the other node.
    assert first.claim(request("gpu:1"), A) == held
    with pytest.raises(errors.Refused, match="gpu:1"):
        first.claim(request("gpu:2"), A)


class Owners:
    """Who has which unit, as the clients are told."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._guard = threading.Lock()
        self._of: collections.Counter[UnitKey] = collections.Counter()

    def took(self, held: Allocation) -> None:
        keys = [record.unit.key for record in held.units]
        with self._guard:
            self._of.update(keys)
            self.faults += [str(key) for key in keys if self._of[key] > 1]

    def frees(self, held: Allocation) -> None:
        with self._guard:
            self._of.subtract(record.unit.key for record in held.units)


def claim_and_free(ledger: SqlLedger, owners: Owners) -> None:
    for _ in range(ROUNDS):
        try:
            held = ledger.claim(request("gpu:2"), str(uuid.uuid4()))
        except errors.NoValidHost:
            continue
        owners.took(held)
        owners.frees(held)
        for record in held.units:
            ledger.move(record, State.FREE)


def test_both_claim_at_once(ledgers: tuple[SqlLedger, SqlLedger]) -> None:
    """Each unit has one owner, and every client comes to its end."""
    first, second = ledgers
    for host in "ab":
        first.publish(host, [unit(n, host=host) for n in range(1, 5)])
    require(lambda: len(second.records()) == 8)
    conflicts: list[str] = []
    owners = Owners()

    def told(context: sa.engine.interfaces.ExceptionContext) -> None:
        conflicts.append(str(context.original_exception))

    def client(ledger: SqlLedger) -> None:
        url = ledger.database.url.render_as_string(hide_password=False)
        with contextlib.closing(SqlLedger(LedgerSettings(url))) as own:
            sa.event.listen(own.database.engine, "handle_error", told)
            claim_and_free(own, owners)

    clients = [
        threading.Thread(target=client, args=(ledger,))
        for ledger in ledgers * CLIENTS
    ]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert owners.faults == []
    require(lambda: not first.allocations() and not second.allocations())
    # The nodes did get in each other's way, and that is all they said.
    assert conflicts
    assert all("1213" in conflict for conflict in conflicts), set(conflicts)
    print(f"galera: {len(conflicts)} certification conflicts, done again")
