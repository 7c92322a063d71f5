"""How a ledger refuses: the same words whichever driver keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
)
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    State,
    Unit,
    UnitKey,
    UnitRecord,
)
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import NIC, request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"

pytest_plugins = ("tests.functional.servers.fixtures",)


def error_of(action: Callable[[], object]) -> str:
    """Return the class and the text of the error that an action raises."""
    with pytest.raises(errors.Error) as caught:
        action()
    return f"{type(caught.value).__name__}: {caught.value}"


class Asked(NamedTuple):
    """A claim that is refused."""

    request: Request
    host: str | None = None
    consumer: str = B


CLAIMS = {
    "claim": Asked(request("gpu:2")),
    "claim, no such card": Asked(request("nic:1")),
    "claim, host": Asked(request("gpu:2"), "h"),
    "claim, cordoned host": Asked(request("gpu:1"), "c"),
    "claim, no such host": Asked(request("gpu:1"), "g"),
    "claim, aggregate": Asked(
        dataclasses.replace(request("gpu:2"), aggregate="rack")
    ),
    "claim, no such aggregate": Asked(
        dataclasses.replace(request("gpu:1"), aggregate="attic")
    ),
    "claim, consumer": Asked(request("gpu:2"), consumer=A),
    "claim, no UUID": Asked(request("gpu:1"), consumer="x"),
}
# Those for which a list of candidates gives the same reason.
LISTED = (
    *("claim", "claim, no such card", "claim, cordoned host"),
    *("claim, no such host", "claim, aggregate"),
)


def held_unit(ledger: LedgerDriver) -> UnitRecord:
    """Publish two hosts, of which one is cordoned, and hold a unit of ``h``.

    Return its record as it was before its last move.
    """
    ledger.publish("h", [unit(1), unit(2)], aggregates=frozenset({"rack"}))
    ledger.publish("c", [unit(1, host="c")])
    ledger.cordon("c", "fan is replaced")
    (record,) = ledger.claim_units([unit(1).key], A, "hook").units
    ledger.move(record, State.PREPARING)
    return record


def of_claims(ledger: LedgerDriver) -> dict[str, str]:
    return {
        name: error_of(
            partial(
                ledger.claim, asked.request, asked.consumer, host=asked.host
            )
        )
        for name, asked in CLAIMS.items()
    }


def of_units(ledger: LedgerDriver, held: UnitRecord) -> dict[str, str]:
    first, second = held.unit.key, unit(2).key
    nowhere = UnitKey("nowhere", first.address)
    free = ledger.unit(second)
    stranger = dataclasses.replace(
        free, unit=dataclasses.replace(free.unit, key=nowhere)
    )
    other = UnitKey("c", first.address)
    absent = UnitKey("h", Address(0, 9, 0, 0))
    claim, move = ledger.claim_units, ledger.move
    of_action: dict[str, Callable[[], object]] = {
        "claim_units, not free": lambda: claim([first], B, "hook"),
        "claim_units, consumer": lambda: claim([second], A, "hook"),
        "claim_units, cordoned host": lambda: claim([other], B, "hook"),
        "claim_units, no such unit": lambda: claim([absent], B, "hook"),
        "claim_units, no such host": lambda: claim([nowhere], B, "hook"),
        "allocation": lambda: ledger.allocation(B),
        "unit": lambda: ledger.unit(nowhere),
        "move, outdated": lambda: move(held, State.FREE),
        "move, no edge": lambda: move(free, State.ACTIVE),
        "move, claim": lambda: move(free, State.CLAIMED),
        "move, no such unit": lambda: move(stranger, State.QUARANTINED),
        "cordon": lambda: ledger.cordon("g", "x"),
        "uncordon": lambda: ledger.uncordon("g"),
        "publish": lambda: ledger.publish("h", [unit(1, host="g"), unit(1)]),
    }
    return {name: error_of(action) for name, action in of_action.items()}


def test_every_driver_words_a_refusal_alike(ledger: LedgerDriver) -> None:
    """One golden file for all drivers: same request, same fleet, same text."""
    held = held_unit(ledger)
    texts = of_claims(ledger) | of_units(ledger, held)
    texts["publish, another machine"] = two_machines(ledger)
    path = Path(__file__).with_name("ledger_refusals.txt")
    assert_golden(path, sections(texts))


def test_a_list_of_candidates_gives_the_reason_of_a_claim(
    ledger: LedgerDriver,
) -> None:
    held_unit(ledger)
    texts = of_claims(ledger)
    for name in LISTED:
        asked, host, _ = CLAIMS[name]
        assert ledger.candidates(asked, host=host) == ()
        reason = ledger.no_valid_host(asked, host=host)
        assert texts[name] == f"NoValidHost: {reason}"
        general = LedgerDriver.no_valid_host(ledger, asked, host=host)
        assert str(general) == str(reason)


def test_every_driver_tells_why_no_unit_fits_alike(
    ledger: LedgerDriver,
) -> None:
    """Each obstacle that a unit can be to a claim, in one fleet."""
    cards = [unit(n) for n in (1, 2, 3)]
    cards += [unit(4, traits="LOUD"), unit(5, node=1), unit(6, NIC)]
    ledger.publish("h", cards, aggregates=frozenset({"rack"}))
    ledger.publish("c", [physical(unit(1, host="c")), unit(2, host="c")])
    ledger.cordon("c", "firmware upgrade")
    ledger.claim_units([unit(1).key], A, "hook")
    held = ledger.claim_units([unit(3).key], B, "hook").units[0]
    ledger.publish(
        "h",
        [c for c in cards if c.key != unit(3).key],
        aggregates=frozenset({"rack"}),
    )
    locked = ledger.unit(unit(2).key)
    ledger.move(locked, State.QUARANTINED, reason="fan loud")
    gone = dataclasses.replace(request("gpu:9"), aggregate="rack")
    texts = {}
    for name, wish, host in (
        ("count", request("gpu:9"), None),
        ("traits", request("gpu:9", without="LOUD"), None),
        ("node", request("required:9", 1), None),
        ("no such node", request("required:1", 7), "h"),
        ("two aliases", request("gpu:1,sound:1"), "h"),
        ("no such trait", request("gold:1"), "h"),
        ("type", request("gpu:2"), "c"),
        ("aggregate", gone, None),
        ("together", request("gpu:1,nic:1", same_switch=True), None),
    ):
        reason = ledger.no_valid_host(wish, host=host)
        assert error_of(partial(ledger.claim, wish, C, host=host)) == (
            f"NoValidHost: {reason}"
        )
        general = LedgerDriver.no_valid_host(ledger, wish, host=host)
        assert str(general) == str(reason)
        texts[name] = str(reason)
    texts["quarantined"] = error_of(
        lambda: ledger.claim_units([locked.unit.key], C, "hook")
    )
    texts["held"] = error_of(
        lambda: ledger.claim_units([held.unit.key], C, "hook")
    )
    path = Path(__file__).with_name("ledger_shortfall_refusals.txt")
    assert_golden(path, sections(texts))


def physical(published: Unit) -> Unit:
    """The same card with SR-IOV, which Nova calls ``type-PF``."""
    functions = tuple(
        dataclasses.replace(f, device_type=DeviceType.PF)
        for f in published.functions
    )
    return dataclasses.replace(published, functions=functions)


def two_machines(ledger: LedgerDriver) -> str:
    ledger.publish("m", [], machine="1")
    return error_of(lambda: ledger.publish("m", [], machine="2"))
