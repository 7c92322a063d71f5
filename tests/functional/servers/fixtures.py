"""Servers for tests: ``pytest_plugins`` of a module names this one.

Those of the session are shared: they are neither stopped nor killed.
The fresh ones are a test's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from tests.functional.servers.backends import Etcd, Redis, ZooKeeper
from tests.functional.servers.databases import MariaDB, PostgreSQL

DATABASES = ("sqlite", "mariadb", "postgresql")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    with Etcd() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def zookeeper() -> Iterator[ZooKeeper]:
    with ZooKeeper() as server:
        yield server


@pytest.fixture
def fresh_mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


@pytest.fixture
def fresh_postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


@pytest.fixture
def fresh_etcd() -> Iterator[Etcd]:
    with Etcd() as server:
        yield server


@pytest.fixture
def fresh_redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def fresh_zookeeper() -> Iterator[ZooKeeper]:
    with ZooKeeper() as server:
        yield server


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLAlchemy's URL of a fresh, empty database of each kind."""
    kind: str = request.param
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    server: MariaDB | PostgreSQL = request.getfixturevalue(kind)
    return server.new_database()


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlLedger]:
    """A ledger on each kind of database."""
    opened = SqlLedger(LedgerSettings(database_url))
    opened.sync()
    yield opened
    opened.close()
