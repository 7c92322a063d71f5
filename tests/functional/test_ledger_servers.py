"""A ledger on a server that is away, wrong, slow or another's."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import State
from tests.functional.servers import loopback
from tests.functional.servers.databases import MariaDB, PostgreSQL
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.servers.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
WORD = "s3cret-word"
SERVERS = ("mariadb", "postgresql")
SOON = {"max_retries": 1, "retry_interval": 0, "db_max_retries": 1}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> MariaDB | PostgreSQL:
    started: MariaDB | PostgreSQL = request.getfixturevalue(request.param)
    return started


@pytest.fixture(params=SERVERS)
def fresh(request: pytest.FixtureRequest) -> MariaDB | PostgreSQL:
    started: MariaDB | PostgreSQL = request.getfixturevalue(
        f"fresh_{request.param}"
    )
    return started


def refused(url: sa.URL | str, **options: object) -> str:
    """What is said, in one line and soon."""
    text = sa.make_url(url).render_as_string(hide_password=False)
    ledger = SqlLedger(LedgerSettings(text, SOON | options))
    begun = time.monotonic()
    with pytest.raises(errors.Unavailable) as caught:
        ledger.records()
    assert time.monotonic() - begun < 30
    ledger.close()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nobody_there(server: MariaDB | PostgreSQL) -> None:
    url = sa.make_url(server.new_database())
    with loopback.unserved_port() as port:
        message = refused(url.set(port=port, password=WORD))
    assert "[database] connection" in message
    assert WORD not in message


def test_one_who_takes_the_call_and_says_nothing(
    server: MariaDB | PostgreSQL,
) -> None:
    with loopback.unserved_port(accepts=True) as port:
        url = sa.make_url(server.new_database()).set(port=port)
        soon = {"connect_timeout": "2"}
        if isinstance(server, MariaDB):
            # Once it took the call, this is what bounds the greeting.
            soon["read_timeout"] = "2"
        message = refused(url.update_query_dict(soon))
        assert "[database] connection" in message


def test_wrong_credentials(server: MariaDB | PostgreSQL) -> None:
    url = sa.make_url(server.new_database())
    message = refused(url.set(username="nobody", password=WORD))
    assert "nobody" in message
    assert WORD not in message


def test_no_such_database(server: MariaDB | PostgreSQL) -> None:
    url = sa.make_url(server.new_database())
    assert "not_there" in refused(url.set(database="not_there"))


def test_a_database_without_schema(server: MariaDB | PostgreSQL) -> None:
    assert "db sync" in refused(server.new_database())


def test_newer(server: MariaDB | PostgreSQL) -> None:
    url = server.new_database()
    ledger = SqlLedger(LedgerSettings(url))
    ledger.sync()
    with ledger.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE alembic_version SET version_num = '9999'"
        )
    ledger.close()
    assert "9999" in refused(url)


def test_killed_and_started_again(fresh: MariaDB | PostgreSQL) -> None:
    """What was acknowledged is there; an open ledger goes on."""
    ledger = SqlLedger(LedgerSettings(fresh.new_database()))
    ledger.sync()
    ledger.publish("h", [unit(1), unit(2)])
    held = ledger.claim(request("gpu:1"), A)
    fresh.kill()
    fresh.start()
    assert ledger.allocation(A) == held
    assert ledger.claim(request("gpu:1"), B).host == "h"
    ledger.close()


def test_away_for_a_moment(fresh: MariaDB | PostgreSQL) -> None:
    """A restart, or a failover, is waited for; also by a new ledger."""
    url = fresh.new_database()
    ledger = SqlLedger(LedgerSettings(url))
    ledger.sync()
    ledger.publish("h", [unit(1), unit(2)])
    for name, opened in (
        (A, ledger),
        (B, SqlLedger(LedgerSettings(url))),
    ):
        fresh.kill()
        back = threading.Timer(1.5, fresh.start)
        back.start()
        assert opened.claim(request("gpu:1"), name).host == "h"
        back.join()
        opened.close()


def test_every_connection_is_set_up(server: MariaDB | PostgreSQL) -> None:
    """The first of them, too."""
    ledger = SqlLedger(LedgerSettings(server.new_database()))
    engine = ledger.database.engine
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            level = connection.get_isolation_level()
            assert level == "READ COMMITTED"
            name = "innodb_lock_wait_timeout"
            if isinstance(server, MariaDB):
                statement = f"SELECT CONCAT(@@{name}, 's')"
            else:
                statement = "SHOW lock_timeout"
            assert connection.exec_driver_sql(statement).scalar() == "10s"
    ledger.close()


def test_sqlalchemys_other_name_for_mariadb(mariadb: MariaDB) -> None:
    """oslo.db has no such name; the ledger is the same by both."""
    url = sa.make_url(mariadb.new_database())
    names = [
        f"{name}+{url.get_driver_name()}" for name in ("mysql", "mariadb")
    ]
    first, second = (
        SqlLedger(
            LedgerSettings(
                url.set(drivername=name).render_as_string(hide_password=False)
            )
        )
        for name in names
    )
    first.sync()
    second.publish("a", [unit(1, host="a")])
    assert second.claim(request("gpu:1"), A) == first.allocation(A)
    with second.database.engine.connect() as connection:
        assert connection.get_isolation_level() == "READ COMMITTED"
    for ledger in (first, second):
        ledger.close()


def test_one_row_held_for_too_long(
    server: MariaDB | PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gpu_passthrough_plugin.allocation.sql.backends.LOCK_TIMEOUT_S", 1
    )
    url = server.new_database()
    ledger = SqlLedger(LedgerSettings(url, {"db_max_retries": 1}))
    ledger.sync()
    ledger.publish("a", [unit(1, host="a")])
    ledger.publish("b", [unit(1, host="b")])
    other = sa.create_engine(url)
    with other.begin() as holder:
        holder.exec_driver_sql(
            "SELECT id FROM host WHERE name = 'a' FOR UPDATE"
        )
        # The next host does; what nobody else has is waited for.
        assert ledger.claim(request("gpu:1"), A).host == "b"
        with pytest.raises((errors.Conflict, errors.Unavailable)) as caught:
            ledger.claim(request("gpu:1"), B)
        assert "\n" not in str(caught.value)
        assert "does not answer" not in str(caught.value)
        (record,) = ledger.records(host="a")
        with pytest.raises((errors.Conflict, errors.Unavailable)):
            ledger.move(record, State.QUARANTINED, reason="x")
    assert ledger.claim(request("gpu:1"), B).host == "a"
    other.dispose()
    ledger.close()


@pytest.mark.parametrize("step", ["initialize", "last"])
def test_a_server_that_goes_away_while_it_is_looked_at(
    server: MariaDB | PostgreSQL, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy asks a new server what it is; that is asked again."""
    url = server.new_database()
    with contextlib.closing(SqlLedger(LedgerSettings(url))) as ledger:
        ledger.sync()
    kind = type(sa.make_url(url).get_dialect()())
    name = _LAST[kind.name] if step == "last" else step
    original = getattr(kind, name)
    cut: list[int] = []

    def cut_off(dialect: sa.Dialect, connection: sa.Connection) -> object:
        if not cut:
            cut.append(_own_id(connection))
            _end(url, cut[0])
        return original(dialect, connection)

    monkeypatch.setattr(kind, name, cut_off)
    with contextlib.closing(SqlLedger(LedgerSettings(url))) as ledger:
        assert ledger.records() == ()
    assert cut


# The last thing that the dialect asks.
_LAST = {"mysql": "_detect_sql_mode", "postgresql": "_set_backslash_escapes"}
_IDS = {"mysql": "SELECT connection_id()",
        "postgresql": "SELECT pg_backend_pid()"}  # fmt: skip
_ENDS = {"mysql": "KILL {}", "postgresql": "SELECT pg_terminate_backend({})"}


def _own_id(connection: sa.Connection) -> int:
    """What the server calls a connection that is being made."""
    statement = _IDS[connection.dialect.name]
    return int(connection.exec_driver_sql(statement).scalar_one())


def _end(url: str, number: int) -> None:
    """The server ends a connection."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        ending = _ENDS[engine.dialect.name].format(number)
        connection.exec_driver_sql(ending)
    engine.dispose()
