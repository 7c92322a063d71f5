"""The agents' leader powers a lost host off, and fences it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.flow import fence
from gpu_passthrough_plugin.flow.lost_hosts import Attempt, Fencing, Leader
from gpu_passthrough_plugin.model.unit import State
from tests.functional.acts import Acts, CountedLedger, Crash
from tests.functional.agent_nodes import (
    LEASE_S,
    LOST_AFTER_S,
    eventually,
    nodes,
)
from tests.functional.servers.backends import Redis
from tests.functional.test_locks_lost import url_of
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.servers.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
# Of a look: the leader in these tests looks as often as it is asked to.
SOON_S = 0.2


@pytest.mark.parametrize("status", [0, 1])
def test_the_leader_runs_it_once(
    redis_server: Redis, tmp_path: Path, status: int
) -> None:
    calls = tmp_path / "calls"
    program = tmp_path / "off"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$1 $GPU_PASSTHROUGH_HOST $GPU_PASSTHROUGH_REASON" >>{calls}\n'
        f"echo the BMC says no\nexit {status}\n"
    )
    program.chmod(0o755)
    option = f"fence_command = {program} now\n"
    url = url_of(redis_server, LEASE_S)
    with nodes(tmp_path, url, "abc", option) as fleet:
        (held,) = fleet.ledger.claim(request("gpu:1"), A, host="c").units
        held = fleet.ledger.move(held, State.ACTIVE)
        fleet.start("abc")
        fleet.hosts["c"].end()
        eventually(calls.exists, True)
        said = [fleet.hosts[name] for name in "ab"]
        if status == 0:
            eventually(
                lambda: fleet.ledger.unit(held.unit.key).state,
                State.QUARANTINED,
            )
            reason = fleet.record("c").reason
            assert reason.startswith(f"fenced: by {program} on ")
        else:
            eventually(
                lambda: any(
                    "not powered off" in host.said()
                    and "the BMC says no" in host.said()
                    for host in said
                ),
                True,
            )
            assert fleet.ledger.unit(held.unit.key) == held
            assert fleet.lost() == "c"
        time.sleep(2 * LOST_AFTER_S)
        (call,) = calls.read_text().splitlines()
        assert call.startswith("now c lost: its agent has not answered since")


class Power:
    """Powers hosts off, or says why it does not.

    :param meanwhile: done while a host is powered off.
    """

    def __init__(self, meanwhile: Callable[[], None] | None = None) -> None:
        self.off: list[str] = []
        self.refusal = ""
        self.members: Collection[str] = ("a",)
        self._meanwhile = meanwhile

    @property
    def fencing(self) -> Fencing:
        return Fencing("/sbin/off on a", self._power_off, self._members)

    def _power_off(self, host: str, reason: str) -> None:
        assert reason.startswith(("lost: ", "fenced: "))
        self.off.append(host)
        if self._meanwhile is not None:
            self._meanwhile()
        if self.refusal:
            raise errors.Unavailable(self.refusal)

    def _members(self) -> Collection[str]:
        return self.members


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    """Four hosts that are watched; b has a guest."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with contextlib.closing(SqlLedger(LedgerSettings(url))) as opened:
        opened.sync()
        for host in "abcd":
            opened.publish(host, [unit(n, host=host) for n in (1, 2)])
            opened.watch(host, True)
        (held,) = opened.claim(request("gpu:1"), A, host="b").units
        opened.move(held, State.ACTIVE)
        opened.claim(request("gpu:1"), B, host="b")
        yield opened


def look(
    leader: Leader, ledger: SqlLedger, power: Power, members: str = "acd"
) -> list[str]:
    said: list[str] = []
    leader.look(ledger, members, SOON_S, said.append, power.fencing)
    return said


def lose(leader: Leader, ledger: SqlLedger, power: Power) -> None:
    """Make b a lost host."""
    look(leader, ledger, power)
    time.sleep(0.6 * SOON_S)
    look(leader, ledger, power)
    assert power.off == []
    time.sleep(0.6 * SOON_S)
    look(leader, ledger, power)


def held(ledger: SqlLedger, host: str = "b") -> list[str]:
    records = ledger.records(host=host)
    return [str(r.state) for r in records if r.state.is_held]


def reason(ledger: SqlLedger) -> str:
    record = ledger.host("b")
    assert record is not None
    return record.reason


def test_a_host_that_is_off_is_fenced(ledger: SqlLedger) -> None:
    leader, power = Leader(), Power()
    lose(leader, ledger, power)
    assert power.off == ["b"]
    assert (held(ledger), reason(ledger)) == ([], "fenced: by /sbin/off on a")
    look(leader, ledger, power)
    assert power.off == ["b"]


def test_one_that_may_run_keeps_its_claims(ledger: SqlLedger) -> None:
    leader, power = Leader(), Power()
    power.refusal = "no answer of the BMC"
    lose(leader, ledger, power)
    for _ in range(3):
        look(leader, ledger, power)
    assert power.off == ["b"]
    assert held(ledger) == ["active", "claimed"]
    assert reason(ledger).startswith("lost: ")


def test_pauses_grow_to_an_hour() -> None:
    attempt, pauses = Attempt(0), []
    for _ in range(9):
        attempt = attempt.failed(0)
        pauses.append(attempt.due_s)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_one_that_answers_again_is_not_fenced(ledger: SqlLedger) -> None:
    def answers() -> None:
        power.members = "ab"

    leader, power = Leader(), Power(answers)
    lose(leader, ledger, power)
    assert power.off == ["b"]
    assert held(ledger) == ["active", "claimed"]


def test_one_that_answers_before_it_is_not_powered_off(
    ledger: SqlLedger,
) -> None:
    leader, power = Leader(), Power()
    power.members = "ab"
    lose(leader, ledger, power)
    assert (power.off, held(ledger)) == ([], ["active", "claimed"])


@pytest.mark.parametrize("cordon", ["", "new fans"])
def test_who_took_the_host_over_meanwhile_keeps_it(
    ledger: SqlLedger, cordon: str
) -> None:
    def taken_over() -> None:
        if cordon:
            ledger.cordon("b", cordon)
        else:
            ledger.uncordon("b")

    ledger.cordon("b", "lost: x")
    leader, power = Leader(), Power(taken_over)
    look(leader, ledger, power)
    time.sleep(1.2 * SOON_S)
    said = look(leader, ledger, power)
    assert "is not fenced" in said[-1]
    assert (power.off, reason(ledger)) == (["b"], cordon)
    assert held(ledger) == ["active", "claimed"]


def test_a_new_leader_waits_before_it_powers_off(ledger: SqlLedger) -> None:
    ledger.cordon("b", "lost: as another leader found")
    leader, power = Leader(), Power()
    look(leader, ledger, power)
    assert power.off == []
    time.sleep(1.2 * SOON_S)
    look(leader, ledger, power)
    assert (power.off, held(ledger)) == (["b"], [])


def test_nobody_is_powered_off_while_most_are_away(ledger: SqlLedger) -> None:
    leader, power = Leader(), Power()
    for _ in range(3):
        look(leader, ledger, power, members="a")
        time.sleep(0.6 * SOON_S)
    assert power.off == []
    assert "likelier fault" in "".join(look(leader, ledger, power, "a"))


def test_nobody_is_powered_off_while_most_are_marked(
    ledger: SqlLedger,
) -> None:
    for name in "bcd":
        ledger.cordon(name, "lost: x")
    leader, power = Leader(), Power()
    for _ in range(3):
        (line,) = look(leader, ledger, power, members="a")
        time.sleep(0.6 * SOON_S)
    assert power.off == []
    assert "none is powered off" in line


def test_an_operators_cordon_is_not_powered_off(ledger: SqlLedger) -> None:
    ledger.cordon("b", "new fans")
    leader, power = Leader(), Power()
    for _ in range(4):
        look(leader, ledger, power)
        time.sleep(0.6 * SOON_S)
    assert (power.off, reason(ledger)) == ([], "new fans")


@pytest.mark.parametrize("number", [2, 3])
def test_a_fence_that_was_cut_off_is_completed(
    ledger: SqlLedger, number: int
) -> None:
    ledger.cordon("b", "lost: x")
    dying = CountedLedger(ledger, Acts(crash_at=number))
    said: list[str] = []
    with pytest.raises(Crash):
        fence.fence(dying, "b", "/sbin/off on a", said.append)
    assert held(ledger)
    leader, power = Leader(), Power()
    look(leader, ledger, power)
    time.sleep(1.2 * SOON_S)
    look(leader, ledger, power)
    # It may have been booted since.
    assert (power.off, held(ledger)) == (["b"], [])
    time.sleep(1.2 * SOON_S)
    look(leader, ledger, power)
    assert power.off == ["b"]
