"""Many clients of a ledger in Placement while everything around it fails.

The rules are those of ``test_ledger_faults``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.faults import trouble
from tests.functional.faults.course import Kind, campaigned
from tests.functional.faults.proxy import Proxy
from tests.functional.placement.server import PlacementServer
from tests.functional.servers.backends import Etcd, Redis
from tests.functional.servers.databases import MariaDB

pytest_plugins = ("tests.functional.faults.fixtures",)
pytestmark = pytest.mark.campaign

# It does few operations in that time, and needs seconds to come back.  A
# claim adds 1 to the generation of a record; a move goes on to the next odd
# one.
PLACEMENT = Kind(
    every_s=2.5,
    slower=5,
    after=lambda at: (at + 1, at + 2) if at % 2 else (at + 1,),
)


def test_placement(folder: Path, locks: tuple[Etcd, Redis]) -> None:
    with (
        MariaDB() as database,
        PlacementServer(database.new_database(), threads=8) as server,
        Proxy(server.port) as proxy,
    ):
        faults = trouble.faults(proxy, b"PUT /allocations/")
        faults["Placement killed"] = trouble.death(server)
        faults["its database killed"] = trouble.death(database)
        url = f"http://127.0.0.1:{proxy.port}"
        campaigned(
            "Placement", url, server.url, folder, faults, locks, PLACEMENT
        )
