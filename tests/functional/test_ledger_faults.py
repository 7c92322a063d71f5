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

from gpu_passthrough_plugin.allocation.driver import Driver
from tests.functional.faults import (
    ending,
    fire,
    nursery,
    trouble,
    verdict,
)
from tests.functional.faults.history import Operation
from tests.functional.faults.nursery import Settings
from tests.functional.faults.proxy import Proxy
from tests.functional.lab import campaign
from tests.functional.placement.server import PlacementServer
from tests.functional.servers.backends import Etcd, Redis
from tests.functional.servers.databases import (
    Database,
    MariaDB,
    PostgreSQL,
)

pytest_plugins = ["tests.functional.servers.fixtures"]

WHOLE = 20_000
PART = 1_500
# Placement does few in that time.
SLOW = 5
# What fails is over soon, and a client waits for it: few ask in vain.
ANSWERED = 0.9


def settings(
    url: str, folder: Path, lock_urls: tuple[str, ...], slower: int
) -> Settings:
    wanted = WHOLE if campaign.is_whole() else PART
    steps = -(-wanted // slower // fire.CLIENTS)
    return Settings(url, str(folder), campaign.seed(), steps, lock_urls)


def violations(
    ledger: Driver,
    begun: list[Operation],
    folder: Path,
    strides: tuple[int, ...],
) -> list[str]:
    """Everything that should not be."""
    told = [*begun, *nursery.told(folder)]
    return [
        *verdict.violations(told, ending.read(ledger), strides),
        *ending.disagreements(ledger),
        *ending.stranded(ledger),
    ]


def report(name: str, totals: fire.Totals, found: list[str]) -> None:
    """Tell what was done, and fail on what should not be."""
    print(f"\n{name}, seed {campaign.seed()}: {totals};", end=" ")
    print(f"violations: {len(found)}")
    assert found == [], "\n".join(found[:20])
    # A ledger that never answers breaks no rule.
    assert totals.answered > ANSWERED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "histories"
    found.mkdir()
    return found


CLIENT_FAULTS: dict[str, fire.Fault] = {
    "client killed": fire.kill_client,
    "client paused": fire.pause_client,
}


@pytest.fixture
def locks(fresh_etcd: Etcd, fresh_redis: Redis) -> tuple[Etcd, Redis]:
    return fresh_etcd, fresh_redis


def campaigned(
    name: str,
    url: str,
    direct: str,
    folder: Path,
    faults: dict[str, fire.Fault],
    locks: tuple[Etcd, Redis],
    strides: tuple[int, ...] = (1,),
    slower: int = 1,
) -> None:
    """Found a ledger, have the clients at it, and judge what they tell.

    :param direct: the URL by which nothing fails.
    :param strides: by how much a step may count a unit's generation on.
    :param slower: of so many operations, one is done.
    """
    ledger = nursery.ledger(direct)
    begun = ending.found(ledger)
    totals = fire.burn(
        settings(url, folder, tuple(map(trouble.lock_url, locks)), slower),
        CLIENT_FAULTS | faults | trouble.lock_faults(*locks),
        every_s=0.5,
        most_s=3600,
    )
    found = violations(ledger, begun, folder, strides)
    ledger.close()
    report(name, totals, found)


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
        # There, a claim counts a lease's generation on by half of a move.
        campaigned(
            "Placement", url, server.url, folder, faults, locks, (1, 2), SLOW
        )
