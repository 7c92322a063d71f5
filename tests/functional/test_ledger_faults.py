"""Many clients on one ledger while everything around it fails.

Half of them take the host's lock, of one of two backends, and go on without
where they cannot have it: what a lock does to the ledger is nothing.

Afterwards nobody may have been told what cannot have been: the rules
stand in ``faults.verdict``.  What is drawn, the seed draws again; when it
happens is the machine's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.faults import trouble
from tests.functional.faults.course import campaigned
from tests.functional.faults.proxy import Proxy
from tests.functional.servers.backends import Etcd, Redis
from tests.functional.servers.databases import (
    Database,
    MariaDB,
    PostgreSQL,
)

pytest_plugins = ("tests.functional.faults.fixtures",)
pytestmark = pytest.mark.campaign


def test_sqlite(
    tmp_path: Path, folder: Path, locks: tuple[Etcd, Redis]
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    campaigned("SQLite", url, url, folder, {}, locks)


@pytest.mark.parametrize("kind", [MariaDB, PostgreSQL])
def test_server(
    kind: type[Database], folder: Path, locks: tuple[Etcd, Redis]
) -> None:
    with kind() as server, Proxy(server.port) as proxy:
        direct = server.new_database()
        name = direct.rpartition("/")[2]
        url = server.url_of(name, port=proxy.port)
        faults = trouble.faults(proxy, b"COMMIT")
        faults["database killed"] = trouble.death(server)
        campaigned(kind.__name__, url, direct, folder, faults, locks)
