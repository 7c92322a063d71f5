"""TLS to each server: as the guide writes it, and refused where it must be."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from tests.functional.placement.server import PlacementServer, settings_of
from tests.functional.servers import tls
from tests.functional.servers.backends import Etcd, Redis, ZooKeeper
from tests.functional.servers.databases import Database, MariaDB, PostgreSQL
from tests.functional.servers.process import owned
from tests.functional.servers.tls import Certificate

pytest_plugins = ("tests.functional.servers.fixtures",)

QUICK = {"max_retries": 1, "retry_interval": 0, "db_max_retries": 1}
# What is added to the URL of a ledger, and what asks whether it is encrypted.
LEDGERS = {
    "postgresql": (
        "?sslmode=verify-full&sslrootcert={authority}",
        "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        0,
    ),
    "mariadb": ("?ssl_ca={authority}", "SHOW STATUS LIKE 'Ssl_version'", 1),
}
# And to [coordination] backend_url.
LOCKS = {
    "postgresql": "?sslmode=verify-full&sslrootcert={authority}",
    "mariadb": "?ssl_ca={authority}",
    "etcd": "?ca_cert={authority}",
    "redis": "?ssl=True&ssl_ca_certs={authority}",
    "zookeeper": "?use_ssl=True&ca={authority}",
}


@pytest.fixture(autouse=True)
def own_authorities_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """requests prefers the variable to what etcd3gw sets in its session."""
    for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def certificate() -> Iterator[Certificate]:
    with tls.certificate() as made:
        yield made


@pytest.fixture(scope="module")
def other() -> Iterator[Certificate]:
    """Of an authority that signed no server's."""
    with tls.certificate() as made:
        yield made


@pytest.fixture(scope="module")
def databases(certificate: Certificate) -> Iterator[dict[str, Database]]:
    with contextlib.ExitStack() as stack:
        started: dict[str, Database] = {}
        for kind, key, cert in (
            (PostgreSQL, "--ssl=on --ssl_key_file", "--ssl_cert_file"),
            (MariaDB, "--ssl-key", "--ssl-cert"),
        ):
            server = kind()
            # PostgreSQL wants a key that only its own user can read.
            own = [
                Path(shutil.copy(path, server.folder))
                for path in (certificate.key, certificate.certificate)
            ]
            for path in own:
                owned(path)
            server.options = (*f"{key}={own[0]}".split(), f"{cert}={own[1]}")
            started[kind.__name__.lower()] = stack.enter_context(server)
        yield started


@pytest.fixture(scope="module")
def lock_servers(
    certificate: Certificate, databases: dict[str, Database]
) -> Iterator[dict[str, str]]:
    """The URLs of locks on each server, without a query."""
    urls = {name: server.locks_url() for name, server in databases.items()}
    with contextlib.ExitStack() as stack:
        for kind in (Etcd, Redis, ZooKeeper):
            server = stack.enter_context(kind())
            port = stack.enter_context(tls.before(server.port, certificate))
            url = server.url_on(port).replace("http://", "https://")
            urls[kind.__name__.lower()] = url
        yield urls


@pytest.mark.parametrize("name", LEDGERS)
def test_a_ledger(
    name: str,
    databases: dict[str, Database],
    certificate: Certificate,
    other: Certificate,
) -> None:
    query, question, column = LEDGERS[name]
    url = databases[name].new_database()
    trusting = url + query.format(authority=certificate.authority)
    ledger = SqlLedger(LedgerSettings(trusting, QUICK))
    ledger.sync()
    assert ledger.records() == ()
    ledger.close()
    engine = sa.create_engine(trusting)
    with engine.connect() as connection:
        row = connection.exec_driver_sql(question).one()
    engine.dispose()
    assert row[column].startswith("TLSv1.")
    ledger = SqlLedger(
        LedgerSettings(url + query.format(authority=other.authority), QUICK)
    )
    with pytest.raises(errors.Unavailable, match=r"(?i)certificate"):
        ledger.records()
    ledger.close()


# What kazoo leaves open ends with the process.
LOCK = """
import sys
from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.locks import HostLock
url, folder = sys.argv[1:]
try:
    with HostLock(url, "node-1", folder=folder, timeout_s=20, on_wait=id)():
        print("held")
except errors.Unavailable:
    print("refused")
"""


@pytest.mark.parametrize("name", LOCKS)
def test_locks(
    name: str,
    lock_servers: dict[str, str],
    certificate: Certificate,
    other: Certificate,
    tmp_path: Path,
) -> None:
    for authority, answer in (
        (certificate.authority, "held\n"),
        (other.authority, "refused\n"),
    ):
        url = lock_servers[name] + LOCKS[name].format(authority=authority)
        done = subprocess.run(
            (sys.executable, "-c", LOCK, url, str(tmp_path)),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert done.stdout == answer


def test_placement(certificate: Certificate, other: Certificate) -> None:
    with (
        PlacementServer() as server,
        tls.before(server.port, certificate) as port,
    ):
        url = f"https://127.0.0.1:{port}"
        ledger = PlacementLedger(
            settings_of(url, cafile=str(certificate.authority))
        )
        ledger.sync()
        assert ledger.records() == ()
        ledger.close()
        for authority in (str(other.authority), None):
            ledger = PlacementLedger(
                settings_of(url, connect_retries=0, cafile=authority)
            )
            with pytest.raises(errors.Unavailable, match=r"(?i)ssl|certif"):
                ledger.records()
            ledger.close()
