"""How long libvirt waits for the hook while a ledger says nothing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.flow import hook
from gpu_passthrough_plugin.model.unit import State
from tests.functional.faults.proxy import Proxy
from tests.functional.hooked import AUDIO, GPU, HOST, ME, HookedHost, xml
from tests.functional.lab import campaign
from tests.functional.placement.server import TOKEN

pytest_plugins = (
    "tests.functional.servers.fixtures",
    "tests.functional.placement.fixtures",
)

WHOLE = xml(GPU, AUDIO)
WAIT_S = 2
# Starting Python here, beside other tests; libvirt's own waits were 99 s.
_START_S = 15
_LIMITS_S = {
    "prepare": WAIT_S + 1,
    "release": hook.RELEASE_LIMIT_S,
    "reconnect": hook.RECONNECT_LIMIT_S,
}


# libvirt's name of the step of each operation.
STEPS = {"prepare": "begin", "reconnect": "begin", "release": "end"}


def timed(host: HookedHost, operation: str, text: str = WHOLE) -> float:
    """How long a call took that ends as it has to when nothing answers."""
    begun = time.monotonic()
    done = host.call(text, operation, STEPS[operation])
    took_s = time.monotonic() - begun
    assert done.returncode == int(operation == "prepare"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    print(f"{operation} {took_s:.1f} s: {done.stderr}")
    assert took_s < _LIMITS_S[operation] + _START_S
    return took_s


def all_are_bounded(host: HookedHost) -> None:
    # A guest that runs again has no entry: this one comes last.
    for operation in ("prepare", "reconnect", "release"):
        timed(host, operation)
    assert (host.state / "ended" / ME).exists()
    begun = time.monotonic()
    for operation in ("prepare", "release", "reconnect"):
        assert host.call(xml(), operation).returncode == 0
    assert time.monotonic() - begun < _START_S


class Behind(NamedTuple):
    """A host whose ledger's server is asked through a proxy."""

    host: HookedHost
    proxy: Proxy
    ledger: LedgerDriver

    def state(self) -> tuple[str, str | None]:
        """Return the state and the holder of the unit that guests want."""
        (record,) = (
            r
            for r in self.ledger.records(host=HOST)
            if str(r.unit.key.address) == GPU
        )
        return str(record.state), record.consumer


@pytest.fixture(params=["mariadb", "postgresql", "placement"])
def behind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Behind]:
    hook_section = f"[hook]\nwait_s = {WAIT_S}\n"
    if request.param == "placement":
        placement = request.getfixturevalue("placement_server")
        ledger = request.getfixturevalue("placement_ledger")
        with Proxy(int(placement.url.rpartition(":")[2])) as proxy:
            host = HookedHost(tmp_path)
            ledger.publish(
                HOST,
                [record.unit for record in host.ledger().records(host=HOST)],
            )
            host.configure(through_placement(proxy.port) + hook_section)
            host.install()
            yield Behind(host, proxy, ledger)
        return
    server = request.getfixturevalue(request.param)
    url = server.new_database()
    opened = SqlLedger(LedgerSettings(url))
    with Proxy(server.port) as proxy:
        behind_proxy = url.replace(f":{server.port}/", f":{proxy.port}/")
        host = HookedHost(tmp_path, url=behind_proxy)
        host.configure(f"[database]\nconnection = {host.url}\n{hook_section}")
        host.install()
        yield Behind(host, proxy, opened)
    opened.close()


def through_placement(port: int) -> str:
    return (
        "[allocation]\ndriver = placement\n[placement]\n"
        f"auth_type = admin_token\ntoken = {TOKEN}\n"
        f"endpoint = http://127.0.0.1:{port}\n"
    )


def test_a_server_that_never_says_a_word(behind: Behind) -> None:
    behind.proxy.speak()
    behind.proxy.fall_silent(0)
    all_are_bounded(behind.host)
    behind.proxy.speak()
    assert behind.state() == ("free", None)


@pytest.mark.parametrize("operation", ["prepare", "release"])
def test_a_server_that_falls_silent_in_the_middle(
    behind: Behind, operation: str
) -> None:
    """After each message of the conversation, and within each."""
    host, proxy = behind.host, behind.proxy
    prepared = given_back if operation == "prepare" else running
    prepared(behind)
    proxy.speak()
    assert host.call(WHOLE, operation, STEPS[operation]).returncode == 0
    ends = [*dict.fromkeys(proxy.marks)][:-1]
    assert len(ends) > 3
    points = sorted({*ends, *(end - 1 for end in ends)})
    for point in campaign.chosen(points, 1):
        proxy.speak()
        prepared(behind)
        before = behind.state()
        proxy.speak()
        proxy.fall_silent(point)
        timed(host, operation)
        proxy.speak()
        assert behind.state()[1] in (None, ME)
        if operation == "release":
            assert (host.state / "ended" / ME).exists()
            assert behind.state()[1] == before[1]
        else:
            assert host.call(WHOLE).returncode == 0


_LIFE = (State.ACTIVE, State.RELEASING, State.SANITISING, State.FREE)


def given_back(behind: Behind) -> None:
    """Free what the guest has, and forget that it ended."""
    (behind.host.state / "ended" / ME).unlink(missing_ok=True)
    for record in behind.ledger.records(host=HOST):
        if record.consumer == ME:
            for state in _LIFE[_LIFE.index(record.state) + 1 :]:
                record = behind.ledger.move(record, state)


def running(behind: Behind) -> None:
    """The guest has its unit."""
    given_back(behind)
    assert behind.host.call(WHOLE).returncode == 0
    assert behind.state() == ("active", ME)


def test_a_database_file_that_another_program_keeps_locked(
    tmp_path: Path,
) -> None:
    host = HookedHost(tmp_path)
    host.configure(f"[hook]\nwait_s = {WAIT_S}\n")
    host.install()
    assert host.call(WHOLE).returncode == 0
    other = xml(*("0000:82:00.0", "0000:82:00.1"), uuid=f"1{ME[1:]}")
    holder = sqlite3.connect(
        host.state / "ledger.sqlite", isolation_level=None
    )
    try:
        holder.execute("BEGIN EXCLUSIVE")
        for operation in ("prepare", "reconnect"):
            timed(host, operation, other)
        timed(host, "release")
    finally:
        holder.close()
    assert (host.state / "ended" / ME).exists()
    assert host.states()["0000:82:00.0"] == ("free", None)
