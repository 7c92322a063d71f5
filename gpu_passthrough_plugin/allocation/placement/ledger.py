"""The ``placement`` driver: the contract's methods, each as one operation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import inventory, refusals, validation
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.inventory import Publication
from gpu_passthrough_plugin.allocation.placement import (
    claim,
    consumers,
    providers,
    publish,
    reading,
    version,
)
from gpu_passthrough_plugin.allocation.placement.move import Move
from gpu_passthrough_plugin.allocation.placement.pci_providers import (
    PlacementPciProviders,
)
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    HostRecord,
    SyncReport,
    UnitListing,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitKey,
    UnitRecord,
)

T = TypeVar("T")


class PlacementLedger(LedgerDriver):
    """The ledger in OpenStack Placement; see the package's docstring."""

    def __init__(self, settings: LedgerSettings) -> None:
        self.service = Service(settings.placement)
        self._weight = settings.weight
        self._is_checked = False

    @property
    def location(self) -> str:
        return self.service.name

    def sync(self) -> str:
        return self.service.retry(lambda _: version.sync(self.service))

    def version(self) -> str:
        return self.service.retry(lambda _: version.version(self.service))

    def close(self) -> None:
        self._is_checked = False
        self.service.close()

    def renew(self) -> None:
        self._is_checked = False

    def pci_providers(self) -> PlacementPciProviders:
        return PlacementPciProviders(self.service)

    def publish(
        self,
        host: str,
        units: Sequence[Unit],
        *,
        aggregates: frozenset[str] = frozenset(),
        machine: str = "",
        replaces: bool = False,
    ) -> SyncReport:
        inventory.require_consistent(host, units)
        publication = Publication(
            host, tuple(units), aggregates, machine, replaces
        )
        return self._retry(
            lambda _: publish.publish(self.service, publication)
        )

    def hosts(self) -> tuple[HostRecord, ...]:
        fleet = self._retry(lambda _: reading.read_fleet(self.service))
        return tuple(host.record for host in fleet.hosts)

    def host(self, name: str) -> HostRecord | None:
        fleet = self._retry(lambda _: reading.read_fleet(self.service, name))
        return next((h.record for h in fleet.hosts if h.name == name), None)

    def cordon(
        self, host: str, reason: str, *, expected: str | None = None
    ) -> HostRecord:
        return self._retry(
            lambda _: providers.cordon(self.service, host, reason, expected)
        )

    def uncordon(
        self, host: str, *, expected: str | None = None
    ) -> HostRecord:
        return self._retry(
            lambda _: providers.uncordon(self.service, host, expected)
        )

    def watch(self, host: str, is_watched: bool) -> None:
        self._retry(lambda _: providers.watch(self.service, host, is_watched))

    def records(
        self, *, host: str | None = None, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        return self._retry(lambda _: self._read_records(host, states))

    def listing(self, *, host: str | None = None) -> UnitListing:
        return self._retry(lambda _: self._read_listing(host))

    def _read_listing(self, host: str | None) -> UnitListing:
        fleet = reading.read_fleet(self.service, host)
        records, malformed = reading.read_records(self.service, fleet.units)
        return UnitListing(
            records,
            tuple(
                reading.describe(self.service, unit)[0]
                for unit in (*fleet.malformed, *malformed)
            ),
        )

    def _read_records(
        self, host: str | None, states: Collection[State]
    ) -> tuple[UnitRecord, ...]:
        # No states at all stand for every state.
        states = states or tuple(State)
        units = reading.read_fleet(self.service, host).units
        units = tuple(s for s in units if s.record.state in states)
        records = reading.read_records(self.service, units).records
        # One that changed meanwhile was read again, in another state.
        return tuple(record for record in records if record.state in states)

    def candidates(
        self, request: Request, *, host: str | None = None, limit: int = 10
    ) -> tuple[Candidate, ...]:
        fleet = self._retry(
            lambda _: reading.read_fleet(
                self.service,
                host,
                is_offered=True,
                aggregate=request.aggregate,
            )
        )
        return claim.candidates(fleet, request, self._weight, limit)

    def no_valid_host(
        self, request: Request, *, host: str | None = None
    ) -> errors.NoValidHost:
        return self._retry(
            lambda _: claim.no_valid_host(self.service, request, host)
        )

    def claim(
        self, request: Request, consumer: str, *, host: str | None = None
    ) -> Allocation:
        uuid = validation.consumer_uuid(consumer)
        query = claim.ClaimQuery(request, uuid, host, self._weight)
        return self._retry(
            lambda attempt: claim.claim(self.service, query, attempt)
        )

    def claim_units(
        self, keys: Collection[UnitKey], consumer: str, request: str
    ) -> Allocation:
        uuid = validation.consumer_uuid(consumer)
        return self._retry(
            lambda attempt: claim.claim_units(
                self.service, keys, uuid, request, attempt
            )
        )

    def allocations(self) -> tuple[Allocation, ...]:
        return self._retry(
            lambda _: consumers.read_allocations(
                self.service, self._read_records(None, ())
            )
        )

    def allocation(self, consumer: str) -> Allocation:
        uuid = validation.consumer_uuid(consumer)
        return self._retry(
            lambda _: consumers.read_allocation(self.service, uuid)
        )

    def move(
        self, record: UnitRecord, state: State, *, reason: str = ""
    ) -> UnitRecord:
        move = Move(record, state, reason)
        return self._retry(lambda _: move.attempt(self.service))

    def unit(self, key: UnitKey) -> UnitRecord:
        for record in self.records(host=key.host):
            if record.unit.key == key:
                return record
        raise refusals.unit_unknown(key)

    def _retry(self, operation: Callable[[int], T]) -> T:
        """Check the layout once, then run an operation as often as needed."""

        def checked(attempt: int) -> T:
            if not self._is_checked:
                version.check(self.service)
                self._is_checked = True
            return operation(attempt)

        return self.service.retry(checked)
