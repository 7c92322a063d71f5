"""What a ledger must do: the contract of ``allocation`` drivers."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Collection, Mapping, Sequence

from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    HostRecord,
    SyncReport,
    Weight,
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
    :param weight: which host is taken first.
    :param placement: what ``[placement]`` says, by keystoneauth's names.
    """

    connection: str = dataclasses.field(repr=False)
    options: Mapping[str, object] = dataclasses.field(
        default_factory=dict, repr=False
    )
    weight: Weight = Weight.PACK
    placement: Mapping[str, object] = dataclasses.field(
        default_factory=dict, repr=False
    )


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
    def publish(
        self,
        host: str,
        units: Sequence[Unit],
        *,
        aggregates: frozenset[str] = frozenset(),
        machine: str = "",
        replaces: bool = False,
    ) -> SyncReport:
        """Make ``units`` what the ledger has of ``host``.

        In one go, and only what changed.  A free unit that vanished goes;
        one that a consumer holds, or that is quarantined, stays and is
        marked missing.  What that means in detail stands in
        ``allocation.inventory``.

        :param aggregates: the host aggregates that the host is in.
        :param machine: what tells this machine from another of its name;
            empty when that is not known.
        :param replaces: whether it takes another machine's place, which
            published under this name before.
        :raises Invalid: when two units share a function, one has no
            primary, or one is another host's.
        :raises Refused: when another machine published under this name.
        """

    @abc.abstractmethod
    def hosts(self) -> tuple[HostRecord, ...]:
        """Every host that published something, by name."""

    @abc.abstractmethod
    def disable(self, host: str, reason: str) -> HostRecord:
        """Offer nothing of a host any more; what is held stays held.

        :raises Refused: when the ledger has no such host.
        """

    @abc.abstractmethod
    def enable(self, host: str) -> HostRecord:
        """Offer a host's units again.

        :raises Refused: when the ledger has no such host.
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
        """Where the request would fit, best first; empty where nowhere.

        Hosts stand in the order in which a claim tries them: by the
        settings' weight.  Of each host it is ``allocation.choice``'s.
        """

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
    def take(
        self, keys: Collection[UnitKey], consumer: str, request: str
    ) -> Allocation:
        """Claim these very units for ``consumer``: all of them or none.

        For a guest that others chose them for.  Asking again for the same
        returns what it holds.

        :param keys: of units of one host; at least one.
        :param consumer: a UUID.
        :param request: what is shown as what it asked for.
        :raises Refused: when a unit is gone, the host is disabled, or the
            consumer already holds something else.
        :raises Conflict: when another one holds one of them.
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
