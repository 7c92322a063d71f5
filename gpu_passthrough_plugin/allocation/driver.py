"""What a ledger must do: the contract of ``allocation`` drivers."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import ClassVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    HostRecord,
    SyncReport,
    UnitListing,
    Weight,
)
from gpu_passthrough_plugin.model.event import (
    Actor,
    EventListing,
    EventLog,
    EventQuery,
    Retention,
)
from gpu_passthrough_plugin.model.host_task import (
    HostTask,
    TaskListing,
    TaskState,
)
from gpu_passthrough_plugin.model.one_time_use import PciProviders
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitKey,
    UnitRecord,
)


@dataclasses.dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Everything a driver is configured with.

    :param connection: URL of the ledger; it may hold a password.
    :param options: further database options by oslo.db's names; a driver
        uses those it knows.
    :param weight: which of the hosts that have enough is taken first.
    :param placement: the options of ``[placement]``, by keystoneauth's
        names.
    :param actor: who changes the ledger, for its events.
    :param retention: how many events are kept.
    :param event_log: where this host keeps the events of a ledger that
        keeps none itself; None for nowhere.
    """

    connection: str = dataclasses.field(repr=False)
    options: Mapping[str, object] = dataclasses.field(
        default_factory=dict, repr=False
    )
    weight: Weight = Weight.PACK
    placement: Mapping[str, object] = dataclasses.field(
        default_factory=dict, repr=False
    )
    actor: Actor = dataclasses.field(default_factory=Actor)
    retention: Retention = dataclasses.field(default_factory=Retention)
    event_log: EventLog | None = None


class LedgerDriver(abc.ABC):
    """The ledger: which units there are, and which consumer holds each.

    Every method raises :class:`~gpu_passthrough_plugin.errors.Unavailable`
    when the ledger does not answer, is read-only, corrupt, or of another
    schema than this release's, and changes nothing then.  Refusals are
    worded by ``allocation.refusals``.

    Each transition of a unit leaves an event.  A driver that ``keeps_events``
    writes it in the transaction of the change, so that neither exists
    without the other.  For any other driver, ``allocation.load`` has the
    host write it after the change, to the settings' ``event_log``.  A driver
    that wraps another one passes ``events`` and ``name_consumer`` on.

    A driver that ``keeps_tasks`` passes on what agents of other hosts are
    asked for.
    """

    keeps_events: ClassVar[bool] = False
    keeps_tasks: ClassVar[bool] = False

    @abc.abstractmethod
    def __init__(self, settings: LedgerSettings) -> None:
        """Configure the ledger without opening it.

        :raises Invalid: when the settings are wrong.
        """

    @property
    @abc.abstractmethod
    def location(self) -> str:
        """Where the ledger is, for messages: its URL without password."""

    @abc.abstractmethod
    def sync(self) -> str:
        """Upgrade the ledger's schema to this release's; return its version.

        :raises Unavailable: when the schema is newer than this release.
        """

    @abc.abstractmethod
    def version(self) -> str:
        """Return the version of the ledger's schema; empty if it has none."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close all connections; any further call opens them again."""

    def renew(self) -> None:
        """Forget what was read; for who keeps a ledger open for long.

        Its schema may have been upgraded meanwhile, or its file replaced.  A
        driver may keep connections that still lead to the ledger.
        """
        self.close()

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
        """Replace the inventory of ``host`` by ``units``; return the changes.

        All or nothing, and only what changed is written.  What becomes of
        units that vanished, changed or are held stands in
        ``allocation.inventory``.

        :param aggregates: the host aggregates that the host is in.
        :param machine: an identifier that tells this machine from others
            that use its name; empty when not known.
        :param replaces: whether it takes the place of another machine that
            published under this name.
        :raises Invalid: when two units share a function, one has no
            primary, or one belongs to another host.
        :raises Refused: when another machine published under this name.
        """

    @abc.abstractmethod
    def hosts(self) -> tuple[HostRecord, ...]:
        """Return every host that published something, by name."""

    def host(self, name: str) -> HostRecord | None:
        """Return one host; None if the ledger does not have it.

        A driver should read no other host for it.
        """
        return next((h for h in self.hosts() if h.name == name), None)

    @abc.abstractmethod
    def cordon(
        self, host: str, reason: str, *, expected: str | None = None
    ) -> HostRecord:
        """Offer no unit of a host to new claims; existing ones stay.

        :param expected: the reason that the host is cordoned for now, empty
            for a host that is not cordoned; None for whatever it is.
        :raises Refused: when the ledger has no such host.
        :raises Conflict: when it is not as expected.
        """

    @abc.abstractmethod
    def uncordon(
        self, host: str, *, expected: str | None = None
    ) -> HostRecord:
        """Offer the free units of a host again.

        :param expected: as of ``cordon``.
        :raises Refused: when the ledger has no such host.
        :raises Conflict: when it is not as expected.
        """

    def watch(self, host: str, is_watched: bool) -> None:  # noqa: B027
        """Keep whether a host is lost once its agent answers no more.

        A driver that does not keep it has hosts that are never lost.

        :raises Refused: when the ledger has no such host.
        """

    @abc.abstractmethod
    def records(
        self, *, host: str | None = None, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        """Return units by host and address.

        A unit whose record is malformed is left out: it must not keep other
        units and hosts from being read.

        :param host: whose; None for every host.
        :param states: only units in one of them; empty for every state.
        """

    def listing(self, *, host: str | None = None) -> UnitListing:
        """Return units, and those whose records are malformed.

        :param host: whose; None for every host.
        """
        return UnitListing(self.records(host=host))

    @abc.abstractmethod
    def candidates(
        self, request: Request, *, host: str | None = None, limit: int = 10
    ) -> tuple[Candidate, ...]:
        """Return where the request would fit, best first; maybe nowhere.

        Hosts are in the order in which a claim tries them, which the
        settings' weight decides.  The candidates of each host are
        ``allocation.choice``'s.
        """

    def no_valid_host(
        self, request: Request, *, host: str | None = None
    ) -> errors.NoValidHost:
        """Return why a request has no candidate: what a claim would raise.

        A driver whose ledgers are large should count less.
        """
        records = self.records(host=host)
        return refusals.no_valid_host(request, host, self.hosts(), records)

    @abc.abstractmethod
    def claim(
        self, request: Request, consumer: str, *, host: str | None = None
    ) -> Allocation:
        """Claim the best candidate for ``consumer``: all units or none.

        A claim whose answer was lost may be repeated: the same consumer,
        request and host get what the consumer holds.

        :param consumer: a UUID.
        :param host: the only host that may be used; None for any.
        :raises NoValidHost: when no host can satisfy the request.
        :raises Refused: when the consumer already holds something else.
        :raises Conflict: when other clients were faster at each attempt.
        :raises Invalid: when ``consumer`` is not a UUID.
        """

    @abc.abstractmethod
    def claim_units(
        self, keys: Collection[UnitKey], consumer: str, request: str
    ) -> Allocation:
        """Claim the given units for ``consumer``: all of them or none.

        The caller chose them: the libvirt hook, for a guest that names
        its functions.  Repeating the call returns what the consumer holds.

        :param keys: of units of one host; at least one.
        :param consumer: a UUID.
        :param request: what to show as the consumer's request.
        :raises Refused: when a unit does not exist, the host is cordoned,
            or the consumer already holds something else.
        :raises Conflict: when another consumer holds one of them.
        :raises Invalid: when ``consumer`` is not a UUID.
        """

    @abc.abstractmethod
    def allocations(self) -> tuple[Allocation, ...]:
        """Return what every consumer holds, by consumer."""

    @abc.abstractmethod
    def allocation(self, consumer: str) -> Allocation:
        """Return what one consumer holds.

        :raises Refused: when it holds nothing.
        :raises Invalid: when ``consumer`` is not a UUID.
        """

    @abc.abstractmethod
    def move(
        self, record: UnitRecord, state: State, *, reason: str = ""
    ) -> UnitRecord:
        """Move a unit along one edge of its life; return the new record.

        Reaching ``free`` or ``quarantined`` ends the consumer's hold.
        Moving a free unit to ``claimed`` is refused: that takes a claim.

        :param record: as it was read; its generation decides.
        :param reason: why; the event has it, and the unit's record while it
            is quarantined.
        :raises Conflict: when the ledger's generation is not the
            record's.
        :raises Refused: when there is no such edge or no such unit.
        """

    @abc.abstractmethod
    def unit(self, key: UnitKey) -> UnitRecord:
        """Return one unit.

        :raises Refused: when the ledger has no such unit.
        """

    def events(self, query: EventQuery) -> EventListing:
        """Return events of units and hosts, oldest first.

        :raises Refused: when nothing keeps any.
        """
        raise errors.Refused(
            f"ledger {self.location} keeps no events, and this host has no"
            " event log"
        )

    def add_task(self, task: HostTask) -> HostTask:
        """Ask the agent of a host for something; return the task.

        Where the same is asked for already, that task is returned.

        :raises Refused: when the ledger has no such host, too many tasks wait
            for it, or the ledger keeps none.
        """
        raise errors.Refused(
            f"ledger {self.location} does not pass on what the agents of other"
            f" hosts are asked for; run 'gpu-passthrough {task.kind}' on"
            f" {task.host}"
        )

    def tasks(
        self,
        *,
        host: str | None = None,
        states: Collection[TaskState] = (),
        uuid: str | None = None,
    ) -> TaskListing:
        """Return what agents were asked for, in that order.

        :param host: whose agent; None for every host's.
        :param states: only tasks in one of these; empty for any.
        :param uuid: only this task; None for any.
        """
        del host, states, uuid
        return TaskListing(())

    def change_task(
        self, task: HostTask, state: TaskState, detail: str = ""
    ) -> HostTask:
        """Move a task on to another state; return it as it is then.

        :param detail: why it failed, or was withdrawn.
        :raises Conflict: when it is in another state than ``task``.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def acting_for(self, actor: Actor) -> Iterator[None]:
        """Have the events of what is changed inside be of another actor."""
        self.__dict__["_actor"] = actor
        try:
            yield
        finally:
            del self.__dict__["_actor"]

    def actor_of(self, settings: LedgerSettings) -> Actor:
        """Return who makes the changes that are made now."""
        actor: Actor = self.__dict__.get("_actor", settings.actor)
        return actor

    def pci_providers(self) -> PciProviders:
        """Return the providers that Nova made for PCI devices.

        :raises Refused: when the ledger is not where Nova writes them.
        """
        raise errors.Refused(f"ledger {self.location} is not Placement")

    def name_consumer(self, consumer: str, name: str) -> None:
        """Note the name of a consumer, for the events of this process."""
        self.__dict__.setdefault("_consumer_names", {})[consumer] = name

    def consumer_name(self, consumer: str | None) -> str:
        """Return the name that was noted; empty if none was."""
        names: dict[str | None, str] = self.__dict__.get("_consumer_names", {})
        return names.get(consumer, "")
