"""The hook's way into the ledger's file, held against the driver's own."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin.allocation import capacity
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import direct, version
from gpu_passthrough_plugin.allocation.sql.direct import Direct, Unsuited
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.flow.books import DriverBooks
from gpu_passthrough_plugin.model.guard import HOOK, Answer, Held, Ledger
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.unit.allocation.build import GPU, NIC, request, unit

ME = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
OTHER = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"
KEYS = ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0")
Rows = dict[str, list[tuple[object, ...]]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A ledger of two hosts, the second of which is never touched."""
    path = tmp_path / "ledger 100%.sqlite"
    ledger = SqlLedger(LedgerSettings(f"sqlite:///{path}"))
    ledger.sync()
    for host in ("h", "other"):
        ledger.publish(
            host,
            [
                unit(1, GPU, NIC, host=host, node=0),
                unit(2, GPU, host=host, node=1),
                unit(3, GPU, GPU, host=host, node=1),
                unit(4, NIC, host=host, node=None),
            ],
        )
    ledger.close()
    return path


def opened(path: Path) -> SqlLedger:
    return SqlLedger(LedgerSettings(f"sqlite:///{path}"))


def contents(path: Path) -> Rows:
    """Every row of every table; of a token only whether there is one."""
    found: Rows = {}
    with sqlite3.connect(path) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        for (table,) in sorted(tables):
            asked = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608
            names = [column[0] for column in asked.description]
            at = names.index("token") if "token" in names else None
            found[table] = sorted(
                (
                    tuple(bool(v) if n == at else v for n, v in enumerate(row))
                    for row in asked
                ),
                key=repr,
            )
    connection.close()
    return found


def wanting(
    *keys: str, moves: tuple[str, ...] = ()
) -> Callable[[Ledger], Answer]:
    return lambda _: Answer(takes=keys, moves=moves)


def both(path: Path, act: Callable[[Direct | DriverBooks], object]) -> Rows:
    """What both ways leave, which is the same."""
    copy = path.with_name("copy.sqlite")
    shutil.copy(path, copy)
    ledger = opened(copy)
    ours = act(Direct(str(path), "h"))
    theirs = act(DriverBooks(ledger, "h"))
    ledger.close()
    assert ours == theirs or isinstance(ours, Answer)
    assert contents(path) == contents(copy)
    return contents(path)


def test_constants_are_the_ledgers() -> None:
    assert version.REVISIONS[-1] == direct.SCHEMA
    places = (direct._ANYWHERE, direct._ONE_NODE, direct._NO_NODE)
    assert places == tuple(
        place.value
        for place in (
            capacity.Place.ANYWHERE,
            capacity.Place.ONE_NODE,
            capacity.Place.NO_NODE,
        )
    )


@pytest.mark.parametrize(
    "keys",
    [KEYS[:1], KEYS[1:2], KEYS[2:3], KEYS[3:], KEYS[:3], KEYS],
)
def test_a_claim_is_the_drivers(file: Path, keys: tuple[str, ...]) -> None:
    before = contents(file)
    after = both(file, lambda books: books.attempt(ME, wanting(*keys), HOOK))
    assert after != before
    ledger = opened(file)
    held = ledger.allocation(ME)
    assert [str(r.unit.key.address) for r in held.units] == list(keys)
    assert (held.host, held.request) == ("h", HOOK)
    assert held.states == (State.ACTIVE,)
    ledger.close()


def test_a_claim_of_before_becomes_active(file: Path) -> None:
    ledger = opened(file)
    held = ledger.claim(request("gpu:2"), ME, host="h")
    ledger.close()
    keys = tuple(str(r.unit.key.address) for r in held.units)
    both(file, lambda b: b.attempt(ME, wanting(moves=keys), HOOK))
    ledger = opened(file)
    assert ledger.allocation(ME).states == (State.ACTIVE,)
    assert ledger.allocation(ME).request == "gpu:2"
    ledger.close()


def test_letting_go_is_the_drivers(file: Path) -> None:
    Direct(str(file), "h").attempt(ME, wanting(*KEYS[:2]), HOOK)
    Direct(str(file), "h").attempt(OTHER, wanting(KEYS[2]), HOOK)
    both(file, lambda books: books.let_go(ME))
    ledger = opened(file)
    states = {str(r.unit.key): r.state for r in ledger.records(host="h")}
    assert list(states.values()) == [
        State.RELEASING,
        State.RELEASING,
        State.ACTIVE,
        State.FREE,
    ]
    ledger.close()
    assert Direct(str(file), "h").let_go(ME)
    assert not Direct(str(file), "h").let_go(
        "00000000-0000-4000-8000-000000000000"
    )


def test_a_claim_of_before_is_not_let_go(file: Path) -> None:
    ledger = opened(file)
    ledger.claim(request("gpu:1"), ME, host="h")
    ledger.close()
    before = contents(file)
    assert both(file, lambda books: books.let_go(ME)) == before
    assert not Direct(str(file), "h").let_go(ME)


def test_what_died_before_it_was_active_is_let_go(file: Path) -> None:
    """The driver claims first, and moves then."""
    ledger = opened(file)
    ledger.claim_units([ledger.records(host="h")[0].unit.key], ME, HOOK)
    ledger.close()
    assert Direct(str(file), "h").let_go(ME)
    ledger = opened(file)
    assert DriverBooks(ledger, "h").let_go(ME)
    ledger.close()


def test_what_is_shown_is_the_same(file: Path) -> None:
    """Of free, claimed, active and quarantined units, and a host's end."""
    ledger = opened(file)
    ledger.claim(request("gpu:1"), OTHER, host="h")
    key = UnitKey("h", unit(4).key.address)
    ledger.move(ledger.unit(key), State.QUARANTINED, reason="loud")
    ledger.cordon("h", "new roof")
    Direct(str(file), "h").attempt(ME, wanting(KEYS[2]), HOOK)
    seen: list[Ledger] = []

    def look(book: Ledger) -> Answer:
        seen.append(book)
        return Answer()

    Direct(str(file), "h").attempt(ME, look, HOOK)
    DriverBooks(ledger, "h").attempt(ME, look, HOOK)
    ledger.close()
    ours, theirs = seen
    assert (ours.disabled, ours.request, ours.has) == (
        theirs.disabled,
        theirs.request,
        theirs.has,
    )
    assert ours.disabled == "new roof"
    assert ours.has == (("h", KEYS[2], "active"),)
    assert [_plain(u) for u in ours.units] == [_plain(u) for u in theirs.units]
    assert {u.state for u in ours.units} == {
        "free", "claimed", "active", "quarantined",
    }  # fmt: skip


def _plain(held: Held) -> tuple[object, ...]:
    return tuple(getattr(held, name) for name in Held.__slots__)


def test_a_refusal_writes_nothing(file: Path) -> None:
    before = contents(file)
    books = Direct(str(file), "h")
    books.attempt(ME, lambda _: Answer(refusals=("no",), takes=KEYS), HOOK)
    books.attempt(ME, lambda _: Answer(waits_for=KEYS, takes=KEYS), HOOK)
    assert contents(file) == before


def test_a_host_that_published_nothing(file: Path) -> None:
    seen: list[Ledger] = []

    def look(book: Ledger) -> Answer:
        seen.append(book)
        return Answer()

    Direct(str(file), "nobody").attempt(ME, look, HOOK)
    assert seen[0].units == ()
    assert not Direct(str(file), "nobody").let_go(ME)


def broken(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = '0001'",
        "DELETE FROM alembic_version",
        "DELETE FROM supply",
        "UPDATE unit SET is_missing = 1",
    ],
)
def test_what_is_not_as_expected_is_left_to_the_driver(
    file: Path, statement: str
) -> None:
    broken(file, statement)
    before = contents(file)
    books = Direct(str(file), "h")
    with pytest.raises(Unsuited):
        books.attempt(ME, wanting(*KEYS[:2]), HOOK)
    assert contents(file) == before


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """None is made, either."""
    path = tmp_path / "none.sqlite"
    with pytest.raises(Unsuited):
        Direct(str(path), "h").let_go(ME)
    assert not path.exists()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(Unsuited):
        Direct(str(path), "h").attempt(ME, wanting(), HOOK)


def test_a_consumer_that_is_there_already(file: Path) -> None:
    books = Direct(str(file), "h")
    books.attempt(ME, wanting(KEYS[0]), HOOK)
    before = contents(file)
    with pytest.raises(Unsuited):
        books.attempt(ME, wanting(KEYS[1]), HOOK)
    assert contents(file) == before
