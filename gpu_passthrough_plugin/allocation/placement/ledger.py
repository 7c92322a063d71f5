"""The ``placement`` driver: OpenStack Placement itself is the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from gpu_passthrough_plugin.allocation import inventory, refusals, validation
from gpu_passthrough_plugin.allocation.driver import Driver, LedgerSettings
from gpu_passthrough_plugin.allocation.placement import (
    claim,
    consumers,
    providers,
    publish,
    reading,
    version,
)
from gpu_passthrough_plugin.allocation.placement.claim import ClaimRequest
from gpu_passthrough_plugin.allocation.placement.move import Move
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.allocation.validation import Shown
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    HostRecord,
    SyncReport,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitKey,
    UnitRecord,
)

T = TypeVar("T")


class PlacementLedger(Driver):
    """The ledger in Placement; how, stands in the package's docstring."""

    def __init__(self, settings: LedgerSettings) -> None:
        self.service = Service(settings.placement)
        self._weight = settings.weight
        self._is_checked = False

    def sync(self) -> str:
        return self.service.retried(lambda _: version.sync(self.service))

    def version(self) -> str:
        return self.service.retried(lambda _: version.found(self.service))

    def close(self) -> None:
        self._is_checked = False
        self.service.close()

    def publish(
        self,
        host: str,
        units: Sequence[Unit],
        *,
        aggregates: frozenset[str] = frozenset(),
        machine: str = "",
        replaces: bool = False,
    ) -> SyncReport:
        inventory.check(host, units)
        shown = Shown(host, tuple(units), aggregates, machine, replaces)
        return self._asked(lambda _: publish.publish(self.service, shown))

    def hosts(self) -> tuple[HostRecord, ...]:
        found = self._asked(lambda _: reading.read_fleet(self.service))
        return tuple(host.record for host in found.hosts)

    def disable(self, host: str, reason: str) -> HostRecord:
        return self._asked(
            lambda _: providers.cordon(self.service, host, reason)
        )

    def enable(self, host: str) -> HostRecord:
        return self._asked(lambda _: providers.uncordon(self.service, host))

    def records(
        self, *, host: str | None = None, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        return self._asked(lambda _: self._records(host, states))

    def _records(
        self, host: str | None, states: Collection[State]
    ) -> tuple[UnitRecord, ...]:
        found = reading.read_fleet(self.service, host).units
        wanted = [s for s in found if not states or s.record.state in states]
        # One that was looked at again may be another's by now.
        return tuple(
            record
            for record in reading.read_records(self.service, wanted)
            if not states or record.state in states
        )

    def candidates(
        self, request: Request, *, host: str | None = None, limit: int = 10
    ) -> tuple[Candidate, ...]:
        found = self._asked(
            lambda _: reading.read_fleet(
                self.service,
                host,
                is_offered=True,
                aggregate=request.aggregate,
            )
        )
        return claim.candidates(found, request, self._weight, limit)

    def claim(
        self, request: Request, consumer: str, *, host: str | None = None
    ) -> Allocation:
        claim_request = ClaimRequest(
            request, validation.consumer(consumer), host, self._weight
        )
        return self._asked(
            lambda n: claim.claim(self.service, claim_request, n)
        )

    def take(
        self, keys: Collection[UnitKey], consumer: str, request: str
    ) -> Allocation:
        name = validation.consumer(consumer)
        return self._asked(
            lambda n: claim.claim_units(self.service, keys, name, request, n)
        )

    def allocations(self) -> tuple[Allocation, ...]:
        return self._asked(
            lambda _: consumers.read_allocations(
                self.service, self._records(None, ())
            )
        )

    def allocation(self, consumer: str) -> Allocation:
        name = validation.consumer(consumer)
        return self._asked(
            lambda _: consumers.read_allocation(self.service, name)
        )

    def move(
        self, record: UnitRecord, state: State, *, reason: str = ""
    ) -> UnitRecord:
        moving = Move(record, state, reason)
        return self._asked(lambda _: moving.once(self.service))

    def unit(self, key: UnitKey) -> UnitRecord:
        for record in self.records(host=key.host):
            if record.unit.key == key:
                return record
        raise refusals.unit_unknown(key)

    def _asked(self, once: Callable[[int], T]) -> T:
        """What ``once`` returns; repeated where that may help."""

        def checked(attempt: int) -> T:
            if not self._is_checked:
                version.check(self.service)
                self._is_checked = True
            return once(attempt)

        return self.service.retried(checked)
