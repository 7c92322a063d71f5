"""Hosts whose agents stop answering, on every backend that has groups."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tooz import coordination

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.cli import agent_group
from gpu_passthrough_plugin.cli.agent_group import AgentGroup
from gpu_passthrough_plugin.flow import inventory
from gpu_passthrough_plugin.host import membership
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.unit import State
from tests.functional.agent_nodes import (
    LEASE_S,
    LOST_AFTER_S,
    ROOT,
    Nodes,
    eventually,
    nodes,
)
from tests.functional.each_ledger import LEDGERS, opened
from tests.functional.lab import campaign
from tests.functional.servers.backends import Backend, Etcd, Redis, ZooKeeper
from tests.functional.test_locks_lost import url_of
from tests.unit.allocation.build import request, unit

pytest_plugins = (
    "tests.functional.placement.fixtures",
    "tests.functional.servers.fixtures",
)

A = "aaaaaaaa-0000-4000-8000-000000000001"
COMMAND = """
import sys
from gpu_passthrough_plugin.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
LONG_S = LEASE_S + 2 * LOST_AFTER_S
# How far apart a busy machine lets agents join again, and more.
PATIENT_S = 25


# They wait for minutes: a usual run draws one.
@pytest.fixture(params=campaign.chosen([Etcd, Redis, ZooKeeper], 1))
def server(request: pytest.FixtureRequest) -> Iterator[Backend]:
    kind: type[Backend] = request.param
    with kind() as started:
        yield started


def command(
    fleet: Nodes, *words: str, asked: str = "a"
) -> subprocess.CompletedProcess[str]:
    config = str(fleet.hosts[asked].config)
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "--config-file", config, *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def states(fleet: Nodes) -> dict[str, str]:
    """What ``inventory hosts`` shows of the agents."""
    done = command(fleet, "inventory", "hosts", "-f", "json")
    return {row["Host"]: row["Agent"] for row in json.loads(done.stdout)}


def test_a_host_is_lost_and_comes_back(
    server: Backend, tmp_path: Path
) -> None:
    with nodes(tmp_path, url_of(server, LEASE_S), "abcd") as fleet:
        held = fleet.ledger.claim(request("gpu:1"), A, host="c")
        fleet.start("abc")
        # No agent ran on d.
        assert [h.is_watched for h in fleet.ledger.hosts()] == [
            *(True, True, True, False)
        ]
        assert states(fleet) == {
            **dict.fromkeys("abc", "answers"),
            "d": "no agent",
        }
        fleet.hosts["c"].end()
        eventually(fleet.lost, "c")
        assert states(fleet)["c"] == "lost"
        # What it holds stays held; no more of it is given away.
        assert fleet.ledger.allocation(A) == held
        with pytest.raises(errors.NoValidHost, match="lost: its agent"):
            fleet.ledger.claim(request("gpu:2"), A[:-1] + "2", host="c")
        (event,) = fleet.ledger.events(EventQuery("c", "")).events
        assert event.transition.after == "cordoned"
        assert event.transition.reason.startswith("lost: ")
        assert event.actor.command == "gpu-passthrough-agent"
        fleet.hosts["c"].start()
        assert states(fleet)["c"] == "answers"
        # Being back is not enough: a pass has to find it in step.
        assert fleet.lost() == "c"


def test_each_that_is_killed_is_noticed_the_leader_too(
    server: Backend, tmp_path: Path
) -> None:
    with nodes(tmp_path, url_of(server, LEASE_S), "abc") as fleet:
        fleet.start("a")
        # It leads by now.
        time.sleep(2 * LOST_AFTER_S)
        fleet.start("bc")
        fleet.hosts["a"].end()
        eventually(fleet.lost, "a")
        fleet.hosts["b"].end(signal.SIGTERM)
        eventually(fleet.lost, "ab")


def test_a_backend_that_restarts_is_no_lost_host(
    server: Backend, tmp_path: Path
) -> None:
    url = url_of(server, LEASE_S)
    with nodes(tmp_path, url, "abc", lost_after_s=PATIENT_S) as fleet:
        fleet.start("abc")
        server.kill()
        # Longer than leases last: all of them are away when it is back.
        time.sleep(2 * LEASE_S)
        server.start()
        eventually(
            lambda: set(states(fleet).values()),
            {"answers"},
        )
        time.sleep(LEASE_S)
        assert fleet.lost() == ""
        fleet.hosts["b"].end()
        eventually(fleet.lost, "b")


def test_a_lost_host_is_fenced(redis_server: Redis, tmp_path: Path) -> None:
    with nodes(tmp_path, url_of(redis_server, LEASE_S), "abc") as fleet:
        (held,) = fleet.ledger.claim(request("gpu:1"), A, host="c").units
        held = fleet.ledger.move(held, State.ACTIVE)
        fleet.start("abc")
        fence = "inventory", "fence"
        refusals = {
            "c": "the agent of c answers",
            "a": "a is this host",
            "x": "no host x",
        }
        for host, refusal in refusals.items():
            done = command(fleet, *fence, host, "--powered-off")
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)
            assert refusal in done.stderr
        assert fleet.ledger.unit(held.unit.key) == held
        fleet.hosts["c"].end()
        eventually(fleet.lost, "c")
        done = command(fleet, *fence, "c", "-f", "json")
        (row,) = json.loads(done.stdout)
        assert row == {
            "Unit": str(held.unit.key),
            "Was": "active",
            "State": "quarantined",
            "Consumer": A,
        }
        assert states(fleet)["c"] == "fenced"
        assert fleet.record("c").reason.startswith("fenced: by ")
        assert fleet.ledger.claim(request("gpu:1"), A).host != "c"
        # To repeat it does nothing.
        again = command(fleet, *fence, "c", "-f", "json")
        assert (again.returncode, again.stdout) == (0, "[]\n")


def test_most_hosts_at_once_are_not_lost(
    redis_server: Redis, tmp_path: Path
) -> None:
    with nodes(tmp_path, url_of(redis_server, LEASE_S), "abcde") as fleet:
        fleet.start("abcde")
        for name in "cde":
            fleet.hosts[name].end()
        said = [fleet.hosts[name] for name in "ab"]
        eventually(
            lambda: any("c, d, e" in host.said() for host in said), True
        )
        assert fleet.lost() == ""
        assert states(fleet)["c"] == "does not answer"
        # Two are not most of five.
        fleet.hosts["c"].start()
        eventually(fleet.lost, "de")


def test_the_cordon_of_an_operator_stays(
    redis_server: Redis, tmp_path: Path
) -> None:
    with nodes(tmp_path, url_of(redis_server, LEASE_S), "ab") as fleet:
        fleet.start("ab")
        inventory.cordon(fleet.ledger, "b", "new fans")
        fleet.hosts["b"].end()
        eventually(lambda: states(fleet)["b"], "does not answer")
        time.sleep(LONG_S)
        assert fleet.record("b").reason == "new fans"
        # It is nobody's any more, and its agent does not answer.
        inventory.uncordon(fleet.ledger, "b")
        eventually(fleet.lost, "b")
        # The operator does without an agent there.
        inventory.uncordon(fleet.ledger, "b")
        assert states(fleet)["b"] == "no agent"
        time.sleep(LONG_S)
        assert fleet.lost() == ""


@pytest.mark.parametrize(
    ("member", "name"),
    [
        (b"\xff\xfe", "\ufffd" * 2),
        (b"%FF", "\ufffd"),
        (b"a\nb", "a\nb"),
        (b"../c", "../c"),
    ],
)
def test_a_member_whose_name_is_no_hosts(
    redis_server: Redis, member: bytes, name: str
) -> None:
    """Whoever reaches the server can add one: no agent stops for it."""
    url = url_of(redis_server, LEASE_S)
    backend = coordination.get_coordinator(url, member)
    backend.start()
    try:
        backend.join_group_create(b"gpu-passthrough-agents")
        assert name in membership.names(url, 30)
    finally:
        backend.leave_group(b"gpu-passthrough-agents").get()
        backend.stop()


def test_without_groups_it_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nodes(tmp_path, f"file://{tmp_path}/locks", "a") as fleet:
        new = agent_group.new_contexts([str(fleet.hosts["a"].config)], "test")
        group = AgentGroup(new(), new)
        with group.running():
            assert (group.is_member, group.is_away()) == (False, False)
        (line,) = capsys.readouterr().err.splitlines()
        assert "not noticed" in line and "backend_url" in line
        assert states(fleet) == {"a": "no agent"}


@pytest.fixture(params=LEDGERS)
def ledger(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[LedgerDriver]:
    with opened(request, tmp_path) as each:
        yield each


def test_a_cordon_is_changed_only_as_it_was_expected(
    ledger: LedgerDriver,
) -> None:
    ledger.publish("a", [unit(1, host="a")])
    assert ledger.cordon("a", "lost: x", expected="").reason == "lost: x"
    ledger.cordon("a", "fans")
    for expected in ("", "lost: x"):
        with pytest.raises(errors.Conflict, match=r"host a .*fans"):
            ledger.cordon("a", "lost: y", expected=expected)
        with pytest.raises(errors.Conflict, match=r"host a .*fans"):
            ledger.uncordon("a", expected=expected)
    record = ledger.host("a")
    assert record is not None and record.reason == "fans"
    assert not ledger.uncordon("a", expected="fans").is_cordoned
    # As a change whose answer was lost is repeated.
    assert not ledger.uncordon("a", expected="fans").is_cordoned


def test_a_host_is_watched_until_it_is_not(ledger: LedgerDriver) -> None:
    units = [unit(1, host="a")]
    ledger.publish("a", units)
    for is_watched in (True, True, False, True):
        ledger.watch("a", is_watched)
        record = ledger.host("a")
        assert record is not None and record.is_watched is is_watched
        assert ledger.hosts() == (record,)
    ledger.cordon("a", "fans")
    ledger.uncordon("a")
    ledger.publish("a", [*units, unit(2, host="a")])
    record = ledger.host("a")
    assert record is not None and record.is_watched
    with pytest.raises(errors.Refused, match="no host b"):
        ledger.watch("b", True)
