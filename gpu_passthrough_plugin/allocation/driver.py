"""What a ledger must do: the contract of ``allocation`` drivers."""

from __future__ import annotations

import abc
from collections.abc import Collection, Sequence

from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    SyncReport,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitKey,
    UnitRecord,
)


class Driver(abc.ABC):
    """The ledger of units and who holds them.

    Every method raises :class:`~gpu_passthrough_plugin.errors.Unavailable`
    when the ledger does not answer, is read-only, corrupt, or of another
    schema than this code's, and changes nothing then.
    """

    @abc.abstractmethod
    def publish(self, host: str, units: Sequence[Unit]) -> SyncReport:
        """Make ``units`` what the ledger has of ``host``, in one go.

        A free unit that vanished goes; one that a consumer holds, or
        that is quarantined, stays and is marked missing.
        """

    @abc.abstractmethod
    def records(
        self, *, host: str | None = None, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        """Units by host and address; of all hosts and states by default."""

    @abc.abstractmethod
    def candidates(
        self, request: Request, *, host: str | None = None, limit: int = 10
    ) -> tuple[Candidate, ...]:
        """Where the request would fit, best first; empty where nowhere."""

    @abc.abstractmethod
    def claim(
        self, request: Request, consumer: str, *, host: str | None = None
    ) -> Allocation:
        """Claim the best candidate for ``consumer``: all units or none.

        Asking again for the same consumer, request and host returns what
        it holds, so that a claim whose answer was lost may be repeated.

        :param consumer: a UUID.
        :raises NoValidHost: when no host has what the request asks for.
        :raises Refused: when the consumer already holds something else.
        """

    @abc.abstractmethod
    def allocations(self) -> tuple[Allocation, ...]:
        """What every consumer holds, by consumer."""

    @abc.abstractmethod
    def allocation(self, consumer: str) -> Allocation:
        """What one consumer holds.

        :raises Refused: when it holds nothing.
        """

    @abc.abstractmethod
    def move(
        self, record: UnitRecord, state: State, *, reason: str = ""
    ) -> UnitRecord:
        """Take a unit along one edge of its life; the new record.

        Reaching ``free`` or ``quarantined`` ends the consumer's hold.

        :raises Conflict: when the ledger's generation is not the
            record's.
        :raises Refused: when no such edge exists, or the unit is gone.
        """

    @abc.abstractmethod
    def unit(self, key: UnitKey) -> UnitRecord:
        """One unit.

        :raises Refused: when the ledger has none of that name.
        """
