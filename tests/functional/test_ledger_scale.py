"""What a claim reads does not grow with the fleet."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from gpu_passthrough_plugin.allocation.capacity import Place
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import host_query, statements
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.allocation import Weight
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.servers.fixtures",)

# All that goes to the database but BEGIN and COMMIT.
MOST = 8
INDEX = "ix_supply_card_id_place_free_host_id"


def grow(ledger: SqlLedger, hosts: range, units: int = 8) -> None:
    for number in hosts:
        name = f"h{number:04}"
        ledger.publish(
            name,
            [
                unit(bus, host=name, node=bus // 5)
                for bus in range(1, units + 1)
            ],
        )


def statements_of(ledger: SqlLedger, text: str) -> list[str]:
    """Return the statements that a claim executes."""
    executed: list[str] = []

    def note(*arguments: object) -> None:
        executed.append(str(arguments[2]))

    engine = ledger.database.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    ledger.claim(request(text), str(uuid.uuid4()))
    sa.event.remove(engine, "before_cursor_execute", note)
    return [text for text in executed if not text.startswith("BEGIN")]


def test_a_claim_is_few_statements_whatever_the_fleet(
    ledger: SqlLedger,
) -> None:
    grow(ledger, range(1))
    statements_of(ledger, "gpu:1")
    small = statements_of(ledger, "gpu:1")
    assert len(small) <= MOST
    grow(ledger, range(1, 60))
    assert statements_of(ledger, "gpu:1") == small
    several = [len(statements_of(ledger, text)) for text in ("gpu:2", "gpu:4")]
    assert max(several) <= MOST
    # One that no node can have looks where none has, and then anywhere.
    assert len(statements_of(ledger, "gpu:8")) <= MOST + 1
    assert len(statements_of(ledger, "any:3")) <= MOST + 4


def test_a_claim_reads_no_more_rows_than_a_page_and_a_host(
    ledger: SqlLedger,
) -> None:
    grow(ledger, range(40))
    statements_of(ledger, "gpu:1")
    read: list[int] = []
    engine = ledger.database.engine

    def count(context: sa.engine.interfaces.ExecutionContext) -> None:
        read.append(context.cursor.rowcount)

    fetched = sa.event.listens_for(engine, "after_cursor_execute")

    @fetched
    def after(*arguments: object) -> None:
        context = arguments[4]
        assert isinstance(context, sa.engine.default.DefaultExecutionContext)
        count(context)

    ledger.claim(request("gpu:1"), str(uuid.uuid4()))
    assert read
    # SQLite does not say; the servers do: sixteen functions of a host.
    assert max(read) <= 16


@pytest.mark.parametrize("weight", Weight)
def test_the_index_is_used(ledger: SqlLedger, weight: Weight) -> None:
    grow(ledger, range(60), 2)
    statement = statements.host_page(statements.PageQuery(weight))
    plan = explained(ledger, statement, page_of(weight))
    assert INDEX in plan
    assert "filesort" not in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


@pytest.fixture(params=["mariadb", "postgresql"])
def served(request: pytest.FixtureRequest) -> Iterator[SqlLedger]:
    """A ledger on a server, where claims hold rows."""
    server = request.getfixturevalue(request.param)
    opened = SqlLedger(LedgerSettings(server.new_database()))
    opened.sync()
    yield opened
    opened.close()


@pytest.mark.parametrize("hosts", [3, 20])
@pytest.mark.parametrize("weight", Weight)
def test_one_host_is_held_and_none_that_was_passed_over(
    served: SqlLedger, weight: Weight, hosts: int
) -> None:
    """In the order of the weight, and each client another."""
    grow(served, range(hosts), 2)
    statement = statements.lock_first_idle(statements.PageQuery(weight))
    bound = page_of(weight)
    order = list(range(1, hosts + 1))
    if weight is Weight.SPREAD:
        order.reverse()
    engine = served.database.engine
    with (
        engine.begin() as first,
        engine.begin() as second,
        engine.begin() as rest,
    ):
        for connection, expected in ((first, order[0]), (second, order[1])):
            row = connection.execute(statement, bound).one()
            assert row.host_id == expected
        for host_id in order[2:]:
            held = {"host_id": host_id}
            assert rest.execute(statements.LOCK_OFFERED_IF_IDLE, held).first()
            rest.execute(statements.REMOVE_FREE_COUNTS, held)
        for host_id in order[:2]:
            held = {"host_id": host_id}
            assert not rest.execute(
                statements.LOCK_OFFERED_IF_IDLE, held
            ).first()


@pytest.mark.parametrize("weight", Weight)
def test_a_host_that_is_just_taken_out_of_use_is_not_held(
    served: SqlLedger, weight: Weight
) -> None:
    """What it supplies is still to be taken back."""
    grow(served, range(3), 2)
    statement = statements.lock_first_idle(statements.PageQuery(weight))
    first, second = (1, 2) if weight is Weight.PACK else (3, 2)
    with served.database.engine.begin() as connection:
        connection.execute(
            statements.SET_CORDON, {"host_id": first, "why": "new roof"}
        )
        row = connection.execute(statement, page_of(weight)).one()
    assert row.host_id == second


def test_others_hold_more_than_a_page(served: SqlLedger) -> None:
    grow(served, range(host_query.PAGE_ROWS + 3), 1)
    statements_of(served, "gpu:1")
    engine = served.database.engine
    with engine.begin() as other:
        for host_id in range(2, host_query.PAGE_ROWS + 3):
            held = {"host_id": host_id}
            assert other.execute(statements.LOCK_OFFERED_IF_IDLE, held).first()
        allocation = served.claim(request("gpu:1"), str(uuid.uuid4()))
    assert allocation.host == f"h{host_query.PAGE_ROWS + 2:04}"


@pytest.mark.parametrize("hosts", [1, 2, 60])
@pytest.mark.parametrize("weight", Weight)
def test_holding_a_host_reads_the_index_and_one_host_at_a_time(
    served: SqlLedger, weight: Weight, hosts: int
) -> None:
    grow(served, range(hosts), 2)
    statement = statements.lock_first_idle(statements.PageQuery(weight))
    plan = explained(served, statement, page_of(weight))
    assert INDEX in plan
    if served.database.engine.dialect.name == "mysql":
        assert "eq_ref" in plan
        # Of the page, before it is joined: it is the first to be read.
        first, *others = plan.splitlines()
        assert "<derived2>" in first
        assert "filesort" not in "".join(others)
    else:
        assert "Index Cond: (id = " in plan
        assert "Seq Scan" not in plan


def page_of(weight: Weight) -> dict[str, int]:
    """What is bound on a first page."""
    bound = {
        "model_id": 1,
        "place": Place.ANYWHERE.value,
        "need": 1,
        "from_free": 1,
        "after": -1,
        "most": host_query.PAGE_ROWS,
    }
    if weight is Weight.SPREAD:
        bound |= {"from_free": 2**31 - 1, "after": 2**31 - 1}
    return bound


def explained(
    ledger: SqlLedger, statement: sa.Select[tuple[int, int]], bound: object
) -> str:
    """How the database finds the rows."""
    engine = ledger.database.engine
    backend = engine.dialect.name
    assert isinstance(bound, dict)
    text = str(
        statement.params(**bound).compile(
            engine, compile_kwargs={"literal_binds": True}
        )
    )
    word = "EXPLAIN QUERY PLAN" if backend == "sqlite" else "EXPLAIN"
    with engine.begin() as connection:
        if backend == "postgresql":
            # Of so few rows it would read all; and it has counted them.
            connection.exec_driver_sql("ANALYZE supply")
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        elif backend == "mysql":
            connection.exec_driver_sql("ANALYZE TABLE supply")
        rows = connection.exec_driver_sql(f"{word} {text}").all()
    return "\n".join(str(tuple(row)) for row in rows)
