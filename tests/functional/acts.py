"""What is done to a host, one act at a time: each can fail or be the last.

The ledger (SQLite), the lock, the journal and libvirt's driver for tests
are real; the functions' drivers change hands in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
)
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import host_functions
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.host.sandbox_machine import RecordedDevices
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    HostRecord,
    SyncReport,
)
from gpu_passthrough_plugin.model.event import (
    Actor,
    EventListing,
    EventQuery,
)
from gpu_passthrough_plugin.model.function import (
    VFIO,
    Binding,
    Identity,
    Rebind,
)
from gpu_passthrough_plugin.model.host_task import (
    HostTask,
    TaskListing,
    TaskState,
)
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, Unit, UnitKey, UnitRecord

T = TypeVar("T")

URI = "test:///default"

_SILENT = Identity(0xFFFF, 0xFFFF)


class Crash(BaseException):
    """The process is dead from here on: nothing catches this but a test."""


class Acts:
    """Everything that changes something is done through here.

    :param crash_at: the act at which the process dies, from 1.
    :param does_it: whether that act is still done.
    :param fail_at: the act that is refused; those after it are not.
    :param before: called with the name of an act before it is done.
    """

    def __init__(
        self,
        *,
        crash_at: int | None = None,
        does_it: bool = False,
        fail_at: int | None = None,
        before: Callable[[str], None] | None = None,
    ) -> None:
        self.done: list[str] = []
        self._crash_at = crash_at
        self._does_it = does_it
        self._fail_at = fail_at
        self._before = before

    def do(self, name: str, act: Callable[[], T]) -> T:
        self.done.append(name)
        number = len(self.done)
        if self._crash_at is not None and number >= self._crash_at:
            if number == self._crash_at and self._does_it:
                act()
            raise Crash(name)
        if number == self._fail_at:
            raise errors.Unavailable(f"no {name} today")
        if self._before is not None:
            self._before(name)
        return act()


class Kernel(RecordedDevices):
    """The host's functions: what outlives a process."""

    def __init__(
        self,
        bindings: dict[Address, Binding],
        identities: dict[Address, Identity],
    ) -> None:
        super().__init__(bindings, identities)
        self.identities = identities
        self.refuses: set[tuple[str, Address | None]] = set()
        self.reset_groups: list[int] = []
        self.asleep = 0
        self.held: set[Address] = set()
        self.plugged: dict[str, dict[Address, str]] = {}
        self.unplugged: dict[str, set[Address]] = {}
        self._managed: dict[str, list[Rebind]] = {}

    def _may(self, what: str, place: Address) -> None:
        for key in ((what, place), (what, None)):
            if key in self.refuses:
                raise errors.Unavailable(f"the kernel does no {what}")

    def manage(self, uuid: str, xml: str) -> None:
        """Bind a starting guest's managed functions, as libvirt does."""
        taken = host_functions(domain_xml.tree(xml.encode(), uuid).getroot())
        self._managed[uuid] = [
            Rebind(f.address, self.binding(f.address), VFIO)
            for f in taken.functions
            if f.is_managed and self.binding(f.address).driver != VFIO.driver
        ]
        for rebind in self._managed[uuid]:
            super().rebind(rebind)

    def return_managed(
        self, uuid: str, places: Collection[Address] | None = None
    ) -> None:
        """Return functions to their drivers: all, of a stopped guest."""
        if places is None:
            self.plugged.pop(uuid, None)
            self.unplugged.pop(uuid, None)
        managed = self._managed.pop(uuid, [])
        gone = [r for r in managed if places is None or r.address in places]
        self._managed[uuid] = [r for r in managed if r not in gone]
        for rebind in gone:
            super().rebind(rebind.undo())

    def lose(self, place: Address) -> None:
        """The function falls off its bus."""
        self._bindings.pop(place)
        self.identities.pop(place)

    def silence(self, place: Address) -> Identity:
        """The function responds no more; return what it is."""
        was = self.identities[place]
        self.identities[place] = _SILENT
        return was

    def restart(self, bindings: dict[Address, Binding]) -> None:
        """As after the host was switched off and on."""
        self._bindings = dict(bindings)

    def rebind(self, rebind: Rebind) -> None:
        self.binding(rebind.address)
        self._may(f"bind to {rebind.becomes.driver}", rebind.address)
        super().rebind(rebind)

    def require_idle(self, address: Address) -> None:
        super().require_idle(address)
        if address in self.held:
            raise errors.Refused(f"the group of {address} is held")

    def identity(self, address: Address) -> Identity | Unknown:
        """All ones, as many times as it is still ``asleep``."""
        if self.asleep:
            self.asleep -= 1
            return _SILENT
        return super().identity(address)

    def reset_function(
        self, address: Address, method: str | None = None
    ) -> None:
        self._may("reset", address)
        self._may(f"{method} reset", address)
        super().reset_function(address, method)

    def reset_bus(
        self, address: Address, iommu_group: int, others: Sequence[int] = ()
    ) -> None:
        self._may("reset", address)
        self.reset_groups += [iommu_group, *others]
        super().reset_bus(address, iommu_group, others)


class CountedDevices:
    def __init__(self, kernel: Kernel, acts: Acts) -> None:
        self._kernel = kernel
        self._acts = acts

    def prepare(self) -> None:
        self._acts.do("prepare", self._kernel.prepare)

    def binding(self, address: Address) -> Binding:
        return self._kernel.binding(address)

    def rebind(self, rebind: Rebind) -> None:
        self._acts.do("rebind", lambda: self._kernel.rebind(rebind))

    def probe(self, address: Address) -> None:
        self._acts.do("probe", lambda: self._kernel.probe(address))

    def require_idle(self, address: Address) -> None:
        self._kernel.require_idle(address)

    def reset_function(
        self, address: Address, method: str | None = None
    ) -> None:
        self._acts.do(
            "reset", lambda: self._kernel.reset_function(address, method)
        )

    def reset_bus(
        self, address: Address, iommu_group: int, others: Sequence[int] = ()
    ) -> None:
        self._acts.do(
            "reset",
            lambda: self._kernel.reset_bus(address, iommu_group, others),
        )

    def identity(self, address: Address) -> Identity | Unknown:
        return self._kernel.identity(address)


class CountedJournal(InstanceJournal):
    def __init__(self, folder: str, acts: Acts) -> None:
        super().__init__(folder)
        self._acts = acts

    def write(self, instance: Instance) -> None:
        write = super().write
        self._acts.do("journal", lambda: write(instance))

    def remove(self, uuid: str) -> None:
        remove = super().remove
        self._acts.do("journal", lambda: remove(uuid))


class CountedLedger(LedgerDriver):
    def __init__(self, ledger: LedgerDriver, acts: Acts) -> None:
        self._ledger = ledger
        self._acts = acts

    @property
    def location(self) -> str:
        return self._ledger.location

    def sync(self) -> str:
        return self._ledger.sync()

    def version(self) -> str:
        return self._ledger.version()

    def close(self) -> None:
        self._ledger.close()

    def publish(
        self,
        host: str,
        units: Sequence[Unit],
        *,
        aggregates: frozenset[str] = frozenset(),
        machine: str = "",
        replaces: bool = False,
    ) -> SyncReport:
        return self._acts.do(
            "publish",
            lambda: self._ledger.publish(
                host,
                units,
                aggregates=aggregates,
                machine=machine,
                replaces=replaces,
            ),
        )

    def hosts(self) -> tuple[HostRecord, ...]:
        return self._ledger.hosts()

    def events(self, query: EventQuery) -> EventListing:
        return self._ledger.events(query)

    def name_consumer(self, consumer: str, name: str) -> None:
        self._ledger.name_consumer(consumer, name)

    @contextmanager
    def acting_for(self, actor: Actor) -> Iterator[None]:
        with self._ledger.acting_for(actor):
            yield

    def tasks(self, **which: Any) -> TaskListing:
        return self._ledger.tasks(**which)

    def change_task(
        self, task: HostTask, state: TaskState, detail: str = ""
    ) -> HostTask:
        return self._acts.do(
            "task", lambda: self._ledger.change_task(task, state, detail)
        )

    def cordon(
        self, host: str, reason: str, *, expected: str | None = None
    ) -> HostRecord:
        return self._acts.do(
            "cordon",
            lambda: self._ledger.cordon(host, reason, expected=expected),
        )

    def uncordon(
        self, host: str, *, expected: str | None = None
    ) -> HostRecord:
        return self._acts.do(
            "uncordon", lambda: self._ledger.uncordon(host, expected=expected)
        )

    def watch(self, host: str, is_watched: bool) -> None:
        self._acts.do("watch", lambda: self._ledger.watch(host, is_watched))

    def records(
        self, *, host: str | None = None, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        return self._ledger.records(host=host, states=states)

    def candidates(
        self, request: Request, *, host: str | None = None, limit: int = 10
    ) -> tuple[Candidate, ...]:
        return self._ledger.candidates(request, host=host, limit=limit)

    def claim(
        self, request: Request, consumer: str, *, host: str | None = None
    ) -> Allocation:
        return self._acts.do(
            "claim", lambda: self._ledger.claim(request, consumer, host=host)
        )

    def claim_units(
        self, keys: Collection[UnitKey], consumer: str, request: str
    ) -> Allocation:
        return self._acts.do(
            "take", lambda: self._ledger.claim_units(keys, consumer, request)
        )

    def allocations(self) -> tuple[Allocation, ...]:
        return self._ledger.allocations()

    def allocation(self, consumer: str) -> Allocation:
        return self._ledger.allocation(consumer)

    def move(
        self, record: UnitRecord, state: State, *, reason: str = ""
    ) -> UnitRecord:
        return self._acts.do(
            f"move to {state}",
            lambda: self._ledger.move(record, state, reason=reason),
        )

    def unit(self, key: UnitKey) -> UnitRecord:
        return self._ledger.unit(key)
