"""The ledger as libvirt's hook needs it, by whichever driver keeps it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.guard import (
    Answer,
    Held,
    Ledger,
    is_ending,
)
from gpu_passthrough_plugin.model.selector import Kind, Selector
from gpu_passthrough_plugin.model.unit import State, UnitRecord

_SHOWN = {Kind.IDS: "ids", Kind.CLASS: "class", Kind.ADDRESS: "address"}
_TRIES = 8


class DriverBooks:
    """The ledger by its driver: whichever that is."""

    def __init__(self, ledger: LedgerDriver, host: str) -> None:
        self._ledger = ledger
        self._host = host

    def attempt(
        self, uuid: str, decide: Callable[[Ledger], Answer], request: str
    ) -> Answer:
        """What was decided on the ledger, and done in it.

        :raises Conflict: when others changed it time and again.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._attempt(uuid, decide, request)
            except errors.Conflict:
                continue
        return self._attempt(uuid, decide, request)

    def _attempt(
        self, uuid: str, decide: Callable[[Ledger], Answer], request: str
    ) -> Answer:
        records = self._ledger.records(host=self._host)
        answer = decide(self._shown(uuid, records))
        if answer.changes_nothing:
            return answer
        by_key = {str(r.unit.key.address): r for r in records}
        moved = [by_key[key] for key in answer.moves]
        if answer.takes:
            keys = [by_key[key].unit.key for key in answer.takes]
            moved += self._ledger.claim_units(keys, uuid, request).units
        for record in moved:
            self._ledger.move(record, State.ACTIVE)
        return answer

    def let_go(self, uuid: str) -> bool:
        """Whether there is something of its to give back."""
        for record in self._ledger.records(host=self._host):
            if record.consumer == uuid and record.state is State.ACTIVE:
                self._ledger.move(record, State.RELEASING)
        held = self._allocation(uuid)
        return held is not None and any(
            is_ending(str(r.state), held.request) for r in held.units
        )

    def _allocation(self, uuid: str) -> Allocation | None:
        try:
            return self._ledger.allocation(uuid)
        except errors.Refused:
            return None

    def _shown(self, uuid: str, records: tuple[UnitRecord, ...]) -> Ledger:
        disabled = [
            host.reason
            for host in self._ledger.hosts()
            if host.name == self._host and host.is_cordoned
        ]
        held = self._allocation(uuid)
        return Ledger(
            tuple(_held(r) for r in records),
            disabled[0] if disabled else None,
            held.request if held else "",
            tuple(
                (r.unit.key.host, str(r.unit.key.address), str(r.state))
                for r in (held.units if held else ())
            ),
        )


def _held(record: UnitRecord) -> Held:
    unit = record.unit
    return Held(
        str(unit.key.address),
        {
            str(f.address): f"{f.vendor_id:04x}:{f.product_id:04x}"
            for f in unit.functions
        },
        frozenset(str(f.address) for f in unit.primaries),
        str(record.state),
        record.consumer,
        record.reason,
    )


def patterns(
    selectors: Collection[Selector],
) -> tuple[tuple[str, str], ...]:
    """Selectors as ``decision.Patterns`` takes them."""
    return tuple((_SHOWN[s.kind], s.pattern.pattern) for s in selectors)
