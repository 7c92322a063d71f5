"""A ledger that is absent, newer, corrupt, read-only or no file at all."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import State
from tests.unit.allocation.build import request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"


def ledger_of(file: Path, query: str = "") -> SqlLedger:
    url = f"sqlite:///file:{file}{query}" if query else f"sqlite:///{file}"
    return SqlLedger(LedgerSettings(url))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A ledger with one free unit."""
    ledger = ledger_of(tmp_path / "ledger.sqlite")
    ledger.sync()
    ledger.publish("h", [unit(1)])
    ledger.close()
    yield tmp_path / "ledger.sqlite"


READS: list[Callable[[SqlLedger], object]] = [
    lambda ledger: ledger.records(),
    lambda ledger: ledger.candidates(request("gpu:1")),
    lambda ledger: ledger.allocations(),
    lambda ledger: ledger.allocation(A),
]
WRITES: list[Callable[[SqlLedger], object]] = [
    lambda ledger: ledger.publish("h", []),
    lambda ledger: ledger.claim(request("gpu:1"), A),
]


def refused(
    ledger: SqlLedger, acts: list[Callable[[SqlLedger], object]]
) -> set[str]:
    """The messages by which acts are refused: each is one line."""
    messages = set()
    for act in acts:
        with pytest.raises(errors.Unavailable) as caught:
            act(ledger)
        messages.add(str(caught.value))
    assert not any("\n" in line for line in messages)
    return messages


def test_absent(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "ledger.sqlite"
    ledger = ledger_of(file)
    (message,) = refused(ledger, READS + WRITES)
    assert str(file) in message
    assert "db sync" in message
    # And asking made none.
    assert not file.parent.exists()


def test_sync_makes_it_and_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "ledger.sqlite"
    ledger = ledger_of(file)
    assert ledger.sync() == "0006"
    assert ledger.version() == "0006"
    before = file.read_bytes()
    assert ledger.sync() == "0006"
    assert file.read_bytes() == before
    assert ledger.records() == ()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "state" / "ledger.sqlite"
    ledger = ledger_of(file)
    ledger.sync()
    ledger.publish("h", [unit(1)])
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in file.parent.iterdir()
    }
    # With what is not in the file yet beside it.
    assert file.name in modes
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_database_without_schema(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    file.touch()
    ledger = ledger_of(file)
    assert ledger.version() == ""
    (message,) = refused(ledger, READS + WRITES)
    assert f"{file} has no schema" in message
    assert "db sync" in message
    assert file.stat().st_size == 0


def test_newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    ledger = ledger_of(file)
    acts = [*READS, *WRITES, lambda ledger: ledger.sync()]
    (message,) = refused(ledger, acts)
    assert f"{file} has schema 9999" in message
    assert "0006" in message
    assert ledger.version() == "9999"


def test_a_kept_ledger_whose_file_is_replaced(file: Path) -> None:
    ledger = ledger_of(file)
    before = ledger.hosts()
    with closing(ledger):
        ledger.renew()
        assert ledger.hosts() == before
        away = file.rename(file.with_name("away.sqlite"))
        ledger.renew()
        with pytest.raises(errors.Unavailable, match="does not exist"):
            ledger.hosts()
        away.rename(file)
        ledger.renew()
        assert ledger.hosts() == before
        # As another release of the product upgrades it meanwhile.
        with closing(sqlite3.connect(file)) as other, other:
            other.execute("UPDATE alembic_version SET version_num = '9999'")
        ledger.renew()
        with pytest.raises(errors.Unavailable, match="has schema 9999"):
            ledger.hosts()


def test_no_database(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    file.write_text("an old recipe for plum cake, long enough to be a page\n")
    before = file.read_bytes()
    acts = [*READS, *WRITES, lambda ledger: ledger.sync()]
    (message,) = refused(ledger_of(file), acts)
    assert f"{file} is not an SQLite database" in message
    assert file.read_bytes() == before


def test_damaged(file: Path) -> None:
    pages = bytearray(file.read_bytes())
    pages[4096:] = b"\x5a" * (len(pages) - 4096)
    file.write_bytes(pages)
    (message,) = refused(ledger_of(file), READS + WRITES)
    assert f"{file} is corrupt" in message


def test_nothing_is_logged_beside_what_is_raised(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_bytes(b"\x5a" * 8192)
    refused(ledger_of(file), READS + WRITES)
    assert caplog.records == []


def test_read_only(file: Path) -> None:
    # Holds for root too, for whom a file's mode does not.
    ledger = ledger_of(file, "?mode=ro&uri=true")
    assert [r.unit for r in ledger.records()] == [unit(1)]
    acts = [
        *WRITES,
        lambda ledger: ledger.move(ledger.records()[0], State.QUARANTINED),
    ]
    (message,) = refused(ledger, acts)
    assert f"{file} is read-only" in message
    assert [r.state for r in ledger.records()] == [State.FREE]


@pytest.mark.parametrize("folder", ["/proc/self", "/dev/null", "/sys"])
def test_where_no_file_can_be_made(folder: str) -> None:
    file = Path(folder) / "gpu-passthrough" / "ledger.sqlite"
    with pytest.raises(errors.Unavailable, match=str(file)):
        ledger_of(file).sync()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path)
    (message,) = refused(ledger, READS + WRITES)
    assert f"{tmp_path} cannot be opened" in message
    with pytest.raises(errors.Unavailable, match=str(tmp_path)):
        ledger.sync()


def test_locked_for_too_long(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gpu_passthrough_plugin.allocation.sql.backends.BUSY_TIMEOUT_S", 1
    )
    ledger = ledger_of(file)
    holder = sqlite3.connect(file, isolation_level=None)
    with closing(holder):
        holder.execute("BEGIN IMMEDIATE")
        (message,) = refused(ledger, WRITES)
        assert f"{file} stays locked" in message
        # Readers go on.
        assert [r.state for r in ledger.records()] == [State.FREE]
        holder.execute("ROLLBACK")
    assert ledger.claim(request("gpu:1"), A).host == "h"


@pytest.mark.parametrize(
    "url", ["", "ledger.sqlite", "nonsense://h/d", "sqlite"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(errors.Invalid, match=r"\[database\] connection"):
        SqlLedger(LedgerSettings(url))


def test_a_driver_that_is_not_installed() -> None:
    with pytest.raises(errors.Invalid, match="cx_Oracle"):
        SqlLedger(LedgerSettings("oracle+cx_oracle://h/d"))


def test_two_processes_sync_at_once(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    script = (
        "from gpu_passthrough_plugin.allocation.driver import *\n"
        "from gpu_passthrough_plugin.allocation.sql.ledger import *\n"
        f"print(SqlLedger(LedgerSettings('sqlite:///{file}')).sync())"
    )
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        for _ in range(4)
    ]
    assert [p.communicate()[0] for p in running] == [b"0006\n"] * 4
    assert ledger_of(file).records() == ()
