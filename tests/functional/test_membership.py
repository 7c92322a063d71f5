"""Agents that know of one another, on every backend that has groups."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.servers.backends import Etcd, Redis, ZooKeeper
from tests.functional.servers.databases import MariaDB, PostgreSQL
from tests.functional.test_locks_lost import url_of

pytest_plugins = ("tests.functional.servers.fixtures",)

LEASE_S = 3
LATE_S = 12

AGENT = """
import json, sys, warnings
warnings.simplefilter("ignore")
from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.membership import joined
url, folder, name, timeout_s = sys.argv[1:]
agent = joined(
    url, name, {"release": "1.0"}, folder=folder, timeout_s=float(timeout_s)
)
try:
    with agent as membership:
        print(json.dumps("joined"), flush=True)
        for line in sys.stdin:
            try:
                answer = getattr(membership, line.strip())()
            except errors.Error as error:
                answer = f"{type(error).__name__}: {error}"
            print(json.dumps(answer), flush=True)
except errors.Error as error:
    print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)
"""


OUT = """
import sys, warnings
warnings.simplefilter("ignore")
from tooz import coordination
url, member = sys.argv[1:]
backend = coordination.get_coordinator(url, member.encode())
backend.start()
group = b"gpu-passthrough-agents"
backend.leave_group(group).get()
print(sorted(backend.get_members(group).get()))
"""


class Agent:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self) -> object:
        assert self.process.stdout is not None
        found: object = json.loads(self.process.stdout.readline())
        return found

    def asked(self, what: str) -> object:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.says()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


@contextlib.contextmanager
def agent(
    url: str, folder: Path, name: str, timeout_s: float = 20
) -> Iterator[Agent]:
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, url, str(folder), name, str(timeout_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield Agent(process)
        finally:
            process.kill()


def listed(*names: str) -> dict[str, object]:
    return {name: {"release": "1.0"} for name in names}


def out(url: str, name: str) -> str:
    """Who is left when the agent was taken out."""
    done = subprocess.run(
        [sys.executable, "-c", OUT, url, name],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def eventually(asked: Agent, what: str, wanted: object) -> None:
    end = time.monotonic() + LEASE_S + LATE_S
    while (found := asked.asked(what)) != wanted and time.monotonic() < end:
        time.sleep(0.2)
    assert found == wanted


@pytest.fixture(params=["etcd", "redis_server", "zookeeper"])
def url(request: pytest.FixtureRequest) -> str:
    server: Etcd | Redis | ZooKeeper = request.getfixturevalue(request.param)
    return url_of(server, LEASE_S)


def test_agents_come_go_and_die(url: str, tmp_path: Path) -> None:
    """Each name is of this test: the servers are the session's."""
    names = [f"{tmp_path.name}/{number}" for number in "abc"]
    with (
        agent(url, tmp_path, names[0]) as a,
        agent(url, tmp_path, names[1]) as b,
        agent(url, tmp_path, names[2]) as c,
    ):
        assert [a.says(), b.says(), c.says()] == ["joined"] * 3
        assert a.asked("members") == listed(*names)
        assert b.process.stdin is not None
        b.process.stdin.close()
        b.process.wait(30)
        eventually(a, "members", listed(names[0], names[2]))
        c.kill()
        eventually(a, "members", listed(names[0]))
        # A successor does not find the name taken for ever.
        with agent(url, tmp_path, names[2]) as again:
            assert again.says() == "joined"
            assert a.asked("members") == listed(names[0], names[2])


def test_one_name_is_one_agents(url: str, tmp_path: Path) -> None:
    name = tmp_path.name
    with agent(url, tmp_path, name) as first:
        assert first.says() == "joined"
        assert_refused(url, tmp_path, name)
        assert first.asked("members") == listed(name)


def test_files_know_the_one_agent_of_a_host(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/locks"
    with agent(url, tmp_path, "node/1") as first:
        assert first.says() == "joined"
        assert_refused(url, tmp_path, "node/1")
        assert first.asked("require") is None
        assert first.asked("members") == listed("node/1")
        assert first.asked("leads") is True


def assert_refused(url: str, folder: Path, name: str) -> None:
    with agent(url, folder, name, timeout_s=3) as second:
        refusal = str(second.says())
        assert refusal.startswith("Refused: ")
        assert name in refusal and "[DEFAULT] host" in refusal


@pytest.mark.parametrize("kind", [Etcd, Redis, ZooKeeper])
def test_who_was_taken_for_dead(
    kind: type[Etcd | Redis | ZooKeeper], tmp_path: Path
) -> None:
    """One that is no member any more joins again while it has its name."""
    with kind() as server:
        url = url_of(server, LEASE_S)
        with agent(url, tmp_path, "a") as a, agent(url, tmp_path, "b") as b:
            assert [a.says(), b.says()] == ["joined"] * 2
            assert out(url, "b") == "[b'a']"
            assert a.asked("members") == listed("a")
            assert b.asked("require") is None
            assert a.asked("members") == listed("a", "b")
            b.process.send_signal(signal.SIGSTOP)
            eventually(a, "members", listed("a"))
            with agent(url, tmp_path, "b") as other:
                assert other.says() == "joined"
                b.process.send_signal(signal.SIGCONT)
                lost = str(b.asked("require"))
                assert lost.startswith("Unavailable: the agent name b was")
                # Its entry is the other one's: it leaves that alone.
                assert b.process.stdin is not None
                b.process.stdin.close()
                b.process.wait(30)
                assert other.asked("require") is None
                assert other.asked("members") == listed("a", "b")


@pytest.mark.parametrize(
    "kind", ["file", Etcd, Redis, ZooKeeper, MariaDB, PostgreSQL]
)
def test_there_is_one_leader(kind: str | type[Etcd], tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        if isinstance(kind, str):
            url = f"file://{tmp_path}/locks"
        else:
            url = url_of(stack.enter_context(kind()), LEASE_S)
        a, b = (
            stack.enter_context(agent(url, tmp_path, name)) for name in "ab"
        )
        assert [a.says(), b.says()] == ["joined"] * 2
        assert [a.asked("leads"), b.asked("leads")] == [True, False]
        a.process.send_signal(signal.SIGSTOP)
        if kind == "file":
            assert b.asked("leads") is False
            a.kill()
            assert b.asked("leads") is True
            return
        eventually(b, "leads", True)
        a.process.send_signal(signal.SIGCONT)
        lost = str(a.asked("leads"))
        assert lost.startswith("Unavailable: the leadership was lost")
        assert [a.asked("leads"), b.asked("leads")] == [False, True]


def test_a_leader_that_leaves_makes_room(url: str, tmp_path: Path) -> None:
    with agent(url, tmp_path, f"{tmp_path.name}/a") as a:
        assert [a.says(), a.asked("leads")] == ["joined", True]
        with agent(url, tmp_path, f"{tmp_path.name}/b") as b:
            assert [b.says(), b.asked("leads")] == ["joined", False]
            assert a.process.stdin is not None
            a.process.stdin.close()
            a.process.wait(30)
            assert b.asked("leads") is True


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_database_has_no_members(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: MariaDB | PostgreSQL = request.getfixturevalue(kind)
    with agent(server.locks_url(), tmp_path, "a") as one:
        assert one.says() == "joined"
        assert one.asked("require") is None
        refusal = str(one.asked("members"))
        assert refusal.startswith("Invalid: ") and "backend_url" in refusal
