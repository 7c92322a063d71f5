"""Units that a guest names itself, as the libvirt hook claims them."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.test_ledger import A, B, moved
from tests.unit.allocation.build import GPU, NIC, request, unit

pytest_plugins = ("tests.functional.servers.fixtures",)


def test_very_units_are_taken(ledger: SqlLedger) -> None:
    """Those that a guest names itself, whatever else is free."""
    ledger.publish("h", [unit(1), unit(2, GPU, NIC), unit(3)])
    records = ledger.records(host="h")
    keys = [record.unit.key for record in records[1:]]
    held = ledger.claim_units(keys, A.upper(), "hook")
    assert (held.consumer, held.host, held.request) == (A, "h", "hook")
    assert [r.unit.key for r in held.units] == keys
    assert held.states == (State.CLAIMED,)
    assert ledger.claim_units(keys, A, "hook") == held
    assert ledger.allocation(A) == held
    assert ledger.records(host="h")[0] == records[0]
    candidates = ledger.candidates(request("gpu:1"))
    assert [c.units[0].unit.key for c in candidates] == [records[0].unit.key]
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:2"), B)
    # As libvirt prepares it, nobody else does.
    active = [ledger.move(record, State.ACTIVE) for record in held.units]
    assert ledger.allocation(A).units == tuple(active)
    for record in active:
        moved(ledger, record, State.RELEASING, State.SANITISING, State.FREE)
    assert len(ledger.claim(request("gpu:3"), B).units) == 3


def test_what_is_not_free_is_not_taken_nor_anything_with_it(
    ledger: SqlLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2), unit(3)])
    first, second, third = (r.unit.key for r in ledger.records(host="h"))
    ledger.claim_units([first], A, "hook")
    ledger.move(ledger.unit(third), State.QUARANTINED, reason="loud")
    before = ledger.records()
    for wrong in (first, third):
        with pytest.raises(errors.Conflict):
            ledger.claim_units([second, wrong], B, "hook")
    for keys in ([second], [first, second]):
        with pytest.raises(errors.Refused, match="hook on host h"):
            ledger.claim_units(keys, A, "hook")
    gone = UnitKey("h", unit(9).key.address)
    nowhere = UnitKey("nowhere", unit(1).key.address)
    for wrong in (gone, nowhere):
        with pytest.raises(errors.Refused):
            ledger.claim_units([wrong], B, "hook")
    with pytest.raises(errors.Invalid):
        ledger.claim_units([second], "nobody", "hook")
    ledger.cordon("h", "new roof")
    with pytest.raises(errors.Refused, match="new roof"):
        ledger.claim_units([second], B, "hook")
    assert ledger.records() == before
    assert [a.consumer for a in ledger.allocations()] == [A]
