"""What a ledger is before a campaign, and has to be after it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.model.unit import State, UnitRecord
from tests.functional.faults import fleet, history
from tests.functional.faults.history import Act, Operation, Outcome
from tests.unit.allocation.build import request

# Which way leads to free, from each state, within a life's edges.
_HOME = {
    State.CLAIMED: State.FREE,
    State.PREPARING: State.RELEASING,
    State.ACTIVE: State.RELEASING,
    State.RELEASING: State.SANITISING,
    State.SANITISING: State.FREE,
    State.QUARANTINED: State.FREE,
}


def found(ledger: LedgerDriver) -> list[Operation]:
    """Have every host publish all of its units in a new ledger."""
    ledger.sync()
    return [_published(ledger, host) for host in fleet.HOSTS]


def _published(ledger: LedgerDriver, host: str) -> Operation:
    units = fleet.shown(host)
    begun_ns = time.monotonic_ns()
    ledger.publish(host, units)
    return Operation(
        name=f"the beginning of {host}",
        act=Act.PUBLISH,
        begun_ns=begun_ns,
        ended_ns=time.monotonic_ns(),
        outcome=Outcome.OK,
        host=host,
        shown={str(unit.key): unit.iommu_group for unit in units},
    )


def read(ledger: LedgerDriver) -> Operation:
    """Everything that the ledger has, as the last of all operations."""
    begun_ns = time.monotonic_ns()
    records = ledger.records()
    return Operation(
        name="the end",
        act=Act.READ,
        begun_ns=begun_ns,
        ended_ns=time.monotonic_ns(),
        outcome=Outcome.OK,
        sights=tuple(map(history.sight, records)),
    )


def disagreements(ledger: LedgerDriver) -> Iterator[str]:
    """Where what consumers hold is not what the units say."""
    said = {
        (held.consumer, record.unit.key)
        for held in ledger.allocations()
        for record in held.units
    }
    units = {(r.consumer, r.unit.key) for r in ledger.records() if r.consumer}
    for consumer, key in sorted(said ^ units):
        yield f"{key} of {consumer} is not in both"


def stranded(ledger: LedgerDriver) -> Iterator[str]:
    """What cannot be claimed again once all is published and free."""
    for host in fleet.HOSTS:
        ledger.uncordon(host)
        ledger.publish(host, fleet.shown(host))
    for record in ledger.records():
        _bring_home(ledger, record)
    for host in fleet.HOSTS:
        ledger.publish(host, fleet.shown(host))
    left = fleet.UNITS
    try:
        while left:
            ledger.claim(request("any:1"), str(uuid.uuid4()))
            left -= 1
    except errors.NoValidHost:
        yield f"{left} of {fleet.UNITS} free units are offered to nobody"
    states = {record.state for record in ledger.records()}
    if not left and states != {State.CLAIMED}:
        yield f"all are claimed, yet they are {sorted(states)}"


def _bring_home(ledger: LedgerDriver, record: UnitRecord) -> None:
    while record.state is not State.FREE:
        record = ledger.move(record, _HOME[record.state])
