"""The hook where the ledger is a server, or Placement."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.flow import hook, host_snapshot
from gpu_passthrough_plugin.flow.hook import HookContext
from gpu_passthrough_plugin.host.ended_guests import EndedGuests
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST, HookMode
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord
from tests.functional.hooked import (
    AUDIO,
    GPU,
    HOST,
    ME,
    OTHER,
    SECOND,
    HookedHost,
    xml,
)
from tests.trees.seed import seed

pytest_plugins = (
    "tests.functional.servers.fixtures",
    "tests.functional.placement.fixtures",
)
POLICY = Policy((selector.parse("class=03*"),))
BOTH = xml(GPU, AUDIO, *SECOND)


@pytest.fixture(params=["mariadb", "postgresql", "placement_ledger"])
def ledger(request: pytest.FixtureRequest) -> Iterator[LedgerDriver]:
    server = request.getfixturevalue(request.param)
    made: LedgerDriver
    if isinstance(server, LedgerDriver):
        made = server
    else:
        made = SqlLedger(LedgerSettings(server.new_database()))
        made.sync()
    yield made
    made.close()


class Libvirt:
    """What libvirt calls, on a host whose units are published."""

    def __init__(self, ledger: LedgerDriver, folder: Path) -> None:
        self.ended: list[str] = []
        self.ledger = ledger
        tree = HostTree(str(seed().write(folder / "root")))
        self._folder, self._tree = folder, tree
        ledger.publish(HOST, host_snapshot.read(tree, POLICY).units(HOST))

    def calls(
        self,
        operation: str,
        text: str = BOTH,
        ledger: Any = None,
        **more: Any,
    ) -> int:
        context = HookContext(
            host=HOST,
            tree=self._tree,
            policy=POLICY,
            open_ledger=lambda: ledger or self.ledger,
            journal=InstanceJournal(str(self._folder / "instances")),
            ended=EndedGuests(str(self._folder / "ended")),
            mode=HookMode.ANY,
            wait_s=0,
            hand_over=self.ended.append,
            **more,
        )
        return hook.act(lambda: context, "guest", operation, text.encode())

    def record(self, address: str) -> UnitRecord:
        (record,) = (
            r
            for r in self.ledger.records(host=HOST)
            if str(r.unit.key.address) == address
        )
        return record

    def states(self) -> list[tuple[str, str | None]]:
        """Of three units, the first two of which BOTH takes."""
        records = self.ledger.records(host=HOST)
        return [(str(r.state), r.consumer) for r in records]


@pytest.fixture
def libvirt(ledger: LedgerDriver, tmp_path: Path) -> Libvirt:
    return Libvirt(ledger, tmp_path)


FREE = ("free", None)


def test_a_guests_life(libvirt: Libvirt) -> None:
    assert libvirt.states() == [FREE] * 3
    for _ in range(2):
        assert libvirt.calls("prepare") == 0
        assert libvirt.states() == [("active", ME)] * 2 + [FREE]
    assert libvirt.ledger.allocation(ME).request == HOOK_REQUEST
    assert libvirt.calls("release", xml(GPU, uuid=OTHER)) == 0
    assert libvirt.ended == []
    for number in (1, 2):
        assert libvirt.calls("release") == 0
        assert libvirt.states() == [("releasing", ME)] * 2 + [FREE]
        assert libvirt.ended == [ME] * number


def test_a_claim_of_before(libvirt: Libvirt) -> None:
    libvirt.ledger.claim_units([libvirt.record(GPU).unit.key], ME, "gpu:1")
    whole = xml(GPU, AUDIO)
    assert libvirt.calls("release", whole) == 0
    assert libvirt.ended == []
    # No claim grows.
    assert libvirt.calls("prepare") == 1
    assert libvirt.calls("prepare", whole) == 0
    assert libvirt.states() == [("active", ME), FREE, FREE]
    assert libvirt.ledger.allocation(ME).request == "gpu:1"


class Raced:
    """A ledger in which others act before something is taken."""

    def __init__(
        self, ledger: LedgerDriver, before: Callable[[], object]
    ) -> None:
        self._ledger = ledger
        self._before = before

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)

    def claim_units(
        self, keys: Collection[UnitKey], consumer: str, request: str
    ) -> Allocation:
        self._before()
        return self._ledger.claim_units(keys, consumer, request)


def test_who_was_faster_is_seen(libvirt: Libvirt) -> None:
    """It is decided again on what there is then; nothing is half claimed."""
    key = libvirt.record(SECOND[0]).unit.key
    tries = []

    def another_takes() -> None:
        tries.append(libvirt.states())
        if len(tries) == 1:
            libvirt.ledger.claim_units([key], OTHER, "gpu:1")

    raced = Raced(libvirt.ledger, another_takes)
    assert libvirt.calls("prepare", ledger=raced) == 1
    assert libvirt.states() == [FREE, ("claimed", OTHER), FREE]
    assert len(tries) == 1


def test_who_is_always_faster(libvirt: Libvirt) -> None:
    """Then it is refused, and nothing is claimed."""
    key = libvirt.record(GPU).unit.key
    tries = []

    def another_takes_and_frees() -> None:
        tries.append(key)
        libvirt.ledger.claim_units([key], OTHER, "gpu:1")

    class Freed(Raced):
        def claim_units(
            self, keys: Collection[UnitKey], consumer: str, request: str
        ) -> Allocation:
            try:
                return super().claim_units(keys, consumer, request)
            finally:
                record = libvirt.record(GPU)
                libvirt.ledger.move(record, State.FREE)

    raced = Freed(libvirt.ledger, another_takes_and_frees)
    assert libvirt.calls("prepare", ledger=raced) == 1
    assert libvirt.states() == [FREE] * 3
    assert len(tries) > 1


def test_a_cordoned_host(libvirt: Libvirt) -> None:
    libvirt.ledger.cordon(HOST, "new roof")
    assert libvirt.calls("prepare") == 1
    assert libvirt.states() == [FREE] * 3
    libvirt.ledger.uncordon(HOST)
    assert libvirt.calls("prepare") == 0


def test_without_its_caller_nothing_is_taken(libvirt: Libvirt) -> None:
    """Noticed before the claim, and before each unit is made active."""
    for alive in range(4):
        asked: list[int] = []

        def require(alive: int = alive, asked: list[int] = asked) -> None:
            asked.append(alive)
            if len(asked) > alive:
                raise errors.Refused("libvirt is gone")

        assert libvirt.calls("prepare", require_caller=require) == 1
        assert len(asked) == alive + 1
        states = libvirt.states()
        if alive < 2:
            assert states == [FREE] * 3
        assert states.count(("active", ME)) == max(0, alive - 2)
    # What it had claimed is its own when libvirt starts it again.
    assert libvirt.calls("prepare") == 0
    assert libvirt.states() == [("active", ME)] * 2 + [FREE]


def test_two_guests_on_one_server(database_url: str, tmp_path: Path) -> None:
    """Whole processes, as libvirt starts them."""
    host = HookedHost(tmp_path, url=database_url)
    host.install()
    texts = [xml(GPU, AUDIO, uuid=uuid) for uuid in (ME, OTHER)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(host.call, texts))
    assert sorted(end.returncode for end in ends) == [0, 1]
    winner = (ME, OTHER)[[end.returncode for end in ends].index(0)]
    assert host.states()[GPU] == ("active", winner)
    (loser,) = (end for end in ends if end.returncode)
    assert winner in loser.stderr
    text = xml(GPU, AUDIO, uuid=winner)
    assert host.call(text, "release", "end").returncode == 0
    assert host.states()[GPU] == (str(State.RELEASING), winner)
