"""What a ledger must do: the contract of ``allocation`` drivers."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Collection, Mapping, Sequence

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


@dataclasses.dataclass(frozen=True, slots=True)
class LedgerSettings:
    """What every driver is made with.

    :param connection: URL of the ledger; it may hold a password.
    :param options: what else an operator set, by oslo.db's names; a
        driver takes those it knows.
    """

    connection: str = dataclasses.field(repr=False)
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)


class Driver(abc.ABC):
    """The ledger of units and who holds them.

    Making one opens nothing.  Every method raises
    :class:`~gpu_passthrough_plugin.errors.Unavailable` when the ledger
    does not answer, is read-only, corrupt, or of another schema than this
    code's, and changes nothing then.
    """

    @abc.abstractmethod
    def __init__(self, settings: LedgerSettings) -> None:
        """Make one; nothing is opened yet.

        :raises Invalid: when the settings are wrong.
        """

    @abc.abstractmethod
    def sync(self) -> str:
        """Bring the ledger's schema up to this code's; its version then."""

    @abc.abstractmethod
    def version(self) -> str:
        """The version of the ledger's schema; empty when it has none."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of what is open; any further call opens it again."""

    @abc.abstractmethod
    def publish(self, host: str, units: Sequence[Unit]) -> SyncReport:
        """Make ``units`` what the ledger has of ``host``, in one go.

        A free unit that vanished goes; one that a consumer holds, or
        that is quarantined, stays and is marked missing.  What that
        means in detail stands in ``allocation.inventory``.

        :raises Invalid: when two units share a function, one has no
            primary, or one is another host's.
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
        :raises Conflict: when others were faster time and again.
        :raises Invalid: when ``consumer`` is no UUID.
        """

    @abc.abstractmethod
    def allocations(self) -> tuple[Allocation, ...]:
        """What every consumer holds, by consumer."""

    @abc.abstractmethod
    def allocation(self, consumer: str) -> Allocation:
        """What one consumer holds.

        :raises Refused: when it holds nothing.
        :raises Invalid: when ``consumer`` is no UUID.
        """

    @abc.abstractmethod
    def move(
        self, record: UnitRecord, state: State, *, reason: str = ""
    ) -> UnitRecord:
        """Take a unit along one edge of its life; the new record.

        Reaching ``free`` or ``quarantined`` ends the consumer's hold.
        No free unit is moved to ``claimed``: that is what ``claim`` does.

        :param reason: why it is quarantined; in no other state kept.

        :raises Conflict: when the ledger's generation is not the
            record's.
        :raises Refused: when no such edge exists, or the unit is gone.
        """

    @abc.abstractmethod
    def unit(self, key: UnitKey) -> UnitRecord:
        """One unit.

        :raises Refused: when the ledger has none of that name.
        """
