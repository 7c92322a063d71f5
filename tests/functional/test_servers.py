"""The tests' own servers: what they acknowledged survives, they do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool

from tests.functional.servers.backends import Etcd, Redis, ZooKeeper
from tests.functional.servers.databases import Database, MariaDB, PostgreSQL
from tests.functional.servers.process import Server

pytest_plugins = ("tests.functional.servers.fixtures",)

KINDS = (MariaDB, PostgreSQL, Etcd, Redis, ZooKeeper)

RUN = """
import sys, threading
from tests.functional.servers import backends, databases
kind = getattr(databases, sys.argv[1], None) or getattr(backends, sys.argv[1])
server = kind()
# Of a thread that is gone, which must not take the server with it.
starting = threading.Thread(target=server.start)
starting.start()
starting.join()
assert server._answers()
print(server.folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the user nobody may use, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


def connected(url: str) -> sqlalchemy.Connection:
    return sqlalchemy.create_engine(url, poolclass=NullPool).connect()


def test_a_database_is_fresh(database_url: str) -> None:
    with connected(database_url) as connection, connection.begin():
        names = sqlalchemy.inspect(connection).get_table_names()
        connection.exec_driver_sql("CREATE TABLE made (a INTEGER)")
    assert names == []


@pytest.mark.parametrize("kind", [MariaDB, PostgreSQL])
def test_what_is_committed_survives_a_kill(kind: type[Database]) -> None:
    with kind() as server:
        url = server.new_database()
        with connected(url) as connection, connection.begin():
            connection.exec_driver_sql("CREATE TABLE made (a INTEGER)")
            connection.exec_driver_sql("INSERT INTO made VALUES (7)")
        server.kill()
        with pytest.raises(sqlalchemy.exc.OperationalError):
            connected(url)
        server.start()
        with connected(url) as connection:
            found = connection.exec_driver_sql("SELECT a FROM made")
            assert found.scalars().all() == [7]
        server.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_dies_with_those_who_started_it(
    kind: type[Server], open_folder: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, kind.__name__],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(open_folder)},
    ) as starter:
        assert starter.stdout is not None
        folder = starter.stdout.readline().strip()
        assert folder and running(folder)
        os.kill(starter.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while running(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running(folder)


def running(folder: str) -> list[str]:
    """Processes whose working folder is there, or below."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if os.readlink(link).startswith(folder):
                found.append(link.parent.name)
        except OSError:
            continue
    return found
