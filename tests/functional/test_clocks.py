"""Hosts whose clocks are an hour apart."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from tests.functional.holding import HOST, tried
from tests.functional.servers.backends import Etcd, Redis
from tests.functional.servers.databases import MariaDB
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.servers.fixtures",)

ROOT = Path(__file__).parents[2]
# All of Python is an hour off; libfaketime would be more thorough, but makes
# threads wait for that hour, too.  It takes a lock, holds it for three leases,
# and claims three units.
ELSEWHERE = """
import sys, time, uuid
right = time.time
time.time = lambda: right() + float(sys.argv[5])
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.host.locks import HostLock
from tests.unit.allocation.build import request
database, locks, host, folder = sys.argv[1:5]
print(time.time(), flush=True)
ledger = SqlLedger(LedgerSettings(database))
lock = HostLock(locks, host, folder=folder, timeout_s=30, on_wait=print)
with lock():
    print("held", flush=True)
    until = time.monotonic() + 6
    for _ in range(3):
        print(ledger.claim(request("gpu:1"), str(uuid.uuid4())).consumer)
    while time.monotonic() < until:
        lock.require()
        time.sleep(0.1)
print("let go", flush=True)
ledger.close()
"""


@contextlib.contextmanager
def elsewhere(*argv: str, by: int) -> Iterator[subprocess.Popen[str]]:
    """:param by: how many seconds later it is there than here."""
    with subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, *argv, str(by)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(params=["etcd", "redis_server"])
def locks(request: pytest.FixtureRequest) -> str:
    """Locks with short leases, which a clock that counted would end."""
    server: Etcd | Redis = request.getfixturevalue(request.param)
    return f"{server.url}?lock_timeout=2&membership_timeout=2"


@pytest.mark.parametrize("by", [3600, -3600])
def test_clocks_decide_nothing(
    mariadb: MariaDB, locks: str, tmp_path: Path, by: int
) -> None:
    """Neither who holds a lock, nor for how long, nor who has a unit."""
    url = mariadb.new_database()
    argv = (url, locks, HOST, str(tmp_path / "there"))
    ledger = SqlLedger(LedgerSettings(url))
    ledger.sync()
    ledger.publish("h", [unit(n) for n in range(1, 7)])
    with contextlib.closing(ledger), elsewhere(*argv, by=by) as there:
        assert there.stdout is not None
        their = float(there.stdout.readline())
        assert abs(their - time.time() - by) < 60
        assert there.stdout.readline().strip() == "held"
        assert "was not free" in tried(locks, tmp_path / "here", 3)
        mine = {
            ledger.claim(request("gpu:1"), str(uuid.uuid4())).consumer
            for _ in range(3)
        }
        said = there.stdout.read().splitlines()
        assert there.wait() == 0
        assert said[-1] == "let go"
        held = {held.consumer for held in ledger.allocations()}
        assert held == mine | set(said[:-1])
        assert len(held) == 6
        assert tried(locks, tmp_path / "here", 3) == ""
