"""A client of a ledger that draws what it asks from a seed."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
import uuid
from collections.abc import Callable, Collection, Iterable

from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.model.unit import (
    TRANSITIONS,
    State,
    UnitKey,
    UnitRecord,
)
from tests.functional.faults import fleet, history
from tests.functional.faults.asking import Answer, Asking
from tests.functional.faults.history import Act, Outcome
from tests.unit.allocation.build import request

Lock = Callable[[str], contextlib.AbstractContextManager[object]]

_REQUESTS = (
    *("gpu:1", "gpu:2", "gpu:3", "gpu:4", "any:1", "any:3"),
    *("required:2", "legacy:1", "nic:1", "gpu:1,nic:1", "gpu:2,nic:1"),
)
# Which of its methods a client calls, and how often of a hundred.
_WEIGHTS = {
    "claim": 24,
    "repeat": 4,
    "advance": 44,
    "meddle": 6,
    "operate": 8,
    "publish": 4,
    "switch": 2,
    "look": 8,
}
# Who has more than these moves them on instead of asking for others.
_PLENTY = 8
_STALE_S = 0.02
_OUT_OF_USE = 0.3


def consumer(seed: str, client: int, number: int) -> str:
    """For whom a client's operation of that number claims."""
    chance = _chance(seed, client, number)
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _chance(seed: str, client: int, number: int) -> random.Random:
    return random.Random(f"{seed}.{client}.{number}")  # noqa: S311


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """A claim whose answer never came."""

    consumer: str
    request: str


class Client:
    """One of many; what it holds is what it was told that it holds.

    :param write: takes a line of its history.
    :param lock: taken around each operation.
    :param lost: claims of the one before it, which died.
    """

    def __init__(
        self,
        ledger: LedgerDriver,
        seed: str,
        number: int,
        write: Callable[[str], None],
        lock: Lock = contextlib.nullcontext,
        lost: Iterable[Lost] = (),
    ) -> None:
        self._ledger = ledger
        self._seed = seed
        self._number = number
        self._asking = Asking(number, write)
        self._lock = lock
        self._mine: dict[UnitKey, UnitRecord] = {}
        self._claimed: list[Lost] = []
        self._lost = list(lost)
        self._at = 0
        self._chance = random.Random(0)  # noqa: S311 - drawn anew each time

    def adopt(self, until: int) -> None:
        """Take over what the operations before this one claimed."""
        self._asking.begin(until)
        own = {
            consumer(self._seed, self._number, number)
            for number in range(until)
        }
        for record in self._read_all():
            if record.consumer in own:
                self._mine[record.unit.key] = record

    def step(self, number: int) -> None:
        """Do the operation of that number, whatever comes of it."""
        self._at = number
        self._asking.begin(number)
        self._chance = _chance(self._seed, self._number, number)
        # The first draw is the consumer's.
        self._chance.getrandbits(128)
        (kind,) = self._chance.choices(
            tuple(_WEIGHTS), tuple(_WEIGHTS.values())
        )
        if self._lost and self._chance.random() < 0.5:
            kind = "repeat"
        if kind == "claim" and len(self._mine) > _PLENTY:
            kind = "advance"
        host = self._chance.choice(fleet.HOSTS)
        with self._lock(host):
            getattr(self, f"_{kind}")(host)

    def _claim(self, host: str) -> None:
        wanted = self._chance.choice(_REQUESTS)
        name = consumer(self._seed, self._number, self._at)
        self._claim_for(Lost(name, wanted), self._maybe(host))

    def _repeat(self, host: str) -> None:
        if self._lost:
            self._claim_for(self._lost.pop(0), None)
        elif self._claimed:
            self._claim_for(self._chance.choice(self._claimed[-5:]), None)
        else:
            self._claim(host)

    def _claim_for(self, claim: Lost, host: str | None) -> None:
        asked = self._asking.question(
            Act.CLAIM, consumer=claim.consumer, request=claim.request
        )
        told, records = self._asking.ask(
            asked,
            lambda: (
                self._ledger.claim(
                    request(claim.request), claim.consumer, host=host
                ).units
            ),
        )
        if told is Outcome.UNKNOWN:
            self._lost.append(claim)
        if told is Outcome.OK:
            self._claimed.append(claim)
        self._mine |= {record.unit.key: record for record in records}

    def _advance(self, host: str) -> None:
        """Move a unit of its own along one edge of its life."""
        if not self._mine:
            self._claim(host)
            return
        record = self._mine[self._chance.choice(sorted(self._mine))]
        told, records = self._move(record, self._next(record))
        if told is not Outcome.OK:
            _, records = self._look_at(record.unit.key)
        del self._mine[record.unit.key]
        for found in records:
            if found.consumer == record.consumer and found.consumer:
                self._mine[found.unit.key] = found

    def _meddle(self, host: str) -> None:
        """Move any unit, as it was a while ago."""
        _, records = self._read_host(host)
        if records:
            time.sleep(self._chance.uniform(0, _STALE_S))
            record = self._chance.choice(records)
            self._move(record, self._next(record))

    def _operate(self, host: str) -> None:
        """Clear or quarantine a unit, as an operator does."""
        is_clearing = self._chance.random() < 0.8
        before = State.QUARANTINED if is_clearing else State.FREE
        after = State.FREE if is_clearing else State.QUARANTINED
        _, records = self._asking.ask(
            self._asking.question(Act.LOOK),
            lambda: self._ledger.records(states={before}),
        )
        if records:
            self._move(self._chance.choice(records), after)

    def _publish(self, host: str) -> None:
        units = fleet.shown(host, self._chance)
        asked = self._asking.question(
            Act.PUBLISH,
            host=host,
            shown={str(unit.key): unit.iommu_group for unit in units},
        )

        def publish() -> Collection[UnitRecord]:
            self._ledger.publish(host, units)
            return ()

        self._asking.ask(asked, publish)

    def _switch(self, host: str) -> None:
        """Take a host out of use, or put it back."""
        is_out = self._chance.random() < _OUT_OF_USE
        act = Act.CORDON if is_out else Act.UNCORDON

        def switch() -> Collection[UnitRecord]:
            if is_out:
                self._ledger.cordon(host, "drawn")
            else:
                self._ledger.uncordon(host)
            return ()

        self._asking.ask(self._asking.question(act, host=host), switch)

    def _look(self, host: str) -> None:
        draw = self._chance.random()
        if draw < 0.1:
            self._read_all()
        elif draw < 0.3 and self._mine:
            self._look_at(self._chance.choice(sorted(self._mine)))
        elif draw < 0.5 and self._claimed:
            name = self._chance.choice(self._claimed).consumer
            self._asking.ask(
                self._asking.question(Act.READ),
                lambda: self._ledger.allocation(name).units,
            )
        elif draw < 0.7:
            self._ask_candidates()
        else:
            self._read_host(host)

    def _ask_candidates(self) -> None:
        wanted = request(self._chance.choice(_REQUESTS))

        def candidates() -> Collection[UnitRecord]:
            found = self._ledger.candidates(wanted, limit=3)
            return [
                UnitRecord(
                    free.unit, State.FREE, None, free.generation, False, ""
                )
                for candidate in found
                for free in candidate.units
            ]

        self._asking.ask(self._asking.question(Act.LOOK), candidates)

    def _read_all(self) -> Collection[UnitRecord]:
        _, records = self._asking.ask(
            self._asking.question(Act.READ),
            lambda: [
                record
                for held in self._ledger.allocations()
                for record in held.units
            ],
        )
        return records

    def _read_host(self, host: str) -> Answer:
        return self._asking.ask(
            self._asking.question(Act.READ),
            lambda: self._ledger.records(host=host),
        )

    def _look_at(self, key: UnitKey) -> Answer:
        return self._asking.ask(
            self._asking.question(Act.LOOK), lambda: [self._ledger.unit(key)]
        )

    def _move(self, record: UnitRecord, state: State) -> Answer:
        asked = self._asking.question(
            Act.MOVE, before=history.sight(record), state=state
        )
        return self._asking.ask(
            asked,
            lambda: [self._ledger.move(record, state, reason="drawn")],
        )

    def _next(self, record: UnitRecord) -> State:
        """Any state after its own; a free unit is not claimed so."""
        after = TRANSITIONS[record.state]
        if record.state is State.FREE:
            after -= {State.CLAIMED}
        return self._chance.choice(sorted(after))

    def _maybe(self, host: str) -> str | None:
        return host if self._chance.random() < 0.2 else None
