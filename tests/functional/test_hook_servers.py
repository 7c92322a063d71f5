"""The hook where the ledger is a server, or Placement."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.flow.books import DriverBooks
from gpu_passthrough_plugin.model.guard import HOOK, Answer, Ledger
from gpu_passthrough_plugin.model.unit import State, UnitRecord
from tests.functional.hooked import AUDIO, GPU, ME, OTHER, HookedHost, xml
from tests.unit.allocation.build import request, unit

pytest_plugins = (
    "tests.functional.servers.fixtures",
    "tests.functional.placement.fixtures",
)
FIRST, SECOND = "0000:01:00.0", "0000:02:00.0"


@pytest.fixture(params=["mariadb", "postgresql", "placement_ledger"])
def ledger(request: pytest.FixtureRequest) -> Iterator[LedgerDriver]:
    server = request.getfixturevalue(request.param)
    found: LedgerDriver
    if isinstance(server, LedgerDriver):
        found = server
    else:
        found = SqlLedger(LedgerSettings(server.new_database()))
        found.sync()
    found.publish("h", [unit(1), unit(2), unit(3)])
    yield found
    found.close()


def taking(*keys: str) -> Answer:
    return Answer(takes=keys)


def decided(
    ledger: LedgerDriver, answer: Answer, uuid: str = ME
) -> tuple[Answer, Ledger]:
    """What was decided on, and done."""
    seen: list[Ledger] = []

    def decide(book: Ledger) -> Answer:
        seen.append(book)
        return answer

    return DriverBooks(ledger, "h").attempt(uuid, decide, HOOK), seen[-1]


def states(ledger: LedgerDriver) -> list[tuple[str, str | None]]:
    return [(str(r.state), r.consumer) for r in ledger.records(host="h")]


def test_a_guests_life(ledger: LedgerDriver) -> None:
    answer, book = decided(ledger, taking(FIRST, SECOND))
    assert answer.takes == (FIRST, SECOND)
    assert (book.has, book.request, book.disabled) == ((), "", None)
    assert [u.state for u in book.units] == ["free"] * 3
    assert book.units[0].functions == {
        FIRST: "10de:1430",
        "0000:01:00.1": "10de:0fba",
    }
    assert states(ledger) == [("active", ME)] * 2 + [("free", None)]
    _, book = decided(ledger, Answer())
    assert book.request == HOOK
    assert book.has == (("h", FIRST, "active"), ("h", SECOND, "active"))
    books = DriverBooks(ledger, "h")
    assert books.let_go(ME)
    assert states(ledger) == [("releasing", ME)] * 2 + [("free", None)]
    assert books.let_go(ME)
    assert not books.let_go(OTHER)


def test_a_claim_of_before(ledger: LedgerDriver) -> None:
    ledger.claim(request("gpu:1"), ME, host="h")
    assert not DriverBooks(ledger, "h").let_go(ME)
    (key,) = (
        u.key for u in decided(ledger, Answer())[1].units if u.consumer == ME
    )
    answer, book = decided(ledger, Answer(moves=(key,)))
    assert (answer.moves, book.request) == ((key,), "gpu:1")
    assert states(ledger).count(("active", ME)) == 1


def test_who_was_faster_is_seen(ledger: LedgerDriver) -> None:
    """Decided again on what there is then; nothing is half claimed."""
    decided(ledger, taking(SECOND), OTHER)
    before = states(ledger)
    with pytest.raises(errors.Conflict):
        decided(ledger, taking(FIRST, SECOND))
    assert states(ledger) == before

    def decide(book: Ledger) -> Answer:
        free = [u.key for u in book.units if u.state == "free"]
        if len(free) == 2:
            ledger.claim_units(
                [record(ledger, FIRST).unit.key], OTHER_TOO, HOOK
            )
        return Answer(takes=tuple(free[:1]))

    answer = DriverBooks(ledger, "h").attempt(ME, decide, HOOK)
    assert answer.takes == ("0000:03:00.0",)


OTHER_TOO = "0bbbbbbb-8d1f-4c8e-9a57-0d6b6e0f4a11"


def record(ledger: LedgerDriver, address: str) -> UnitRecord:
    (found,) = (
        r
        for r in ledger.records(host="h")
        if str(r.unit.key.address) == address
    )
    return found


def test_a_host_that_offers_nothing(ledger: LedgerDriver) -> None:
    ledger.cordon("h", "new roof")
    _, book = decided(ledger, Answer())
    assert book.disabled == "new roof"


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
