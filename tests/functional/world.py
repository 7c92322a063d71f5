"""A host to act on: a recorded one, whose every act can fail or be the
last.

The ledger (SQLite), the lock, the journal and libvirt's driver for tests
are real; the functions' drivers change hands in memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import libvirt

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow.site import Site
from gpu_passthrough_plugin.formats import domain_xml, nova_alias
from gpu_passthrough_plugin.host.devices import Replayed
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.host.journal import Journal
from gpu_passthrough_plugin.host.locks import host_lock
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import address, request, selector
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    HostRecord,
    SyncReport,
)
from gpu_passthrough_plugin.model.effect import Binding, Rebind
from gpu_passthrough_plugin.model.identity import Identity
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, Unit, UnitKey, UnitRecord
from tests.trees.seed import seed

T = TypeVar("T")

HOST = "hyhive"
URI = "test:///default"
UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
OTHER = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"
POLICY = Policy((selector.parse("class=03"),))
ALIASES = nova_alias.parse_aliases(
    ['{"name": "gpu", "vendor_id": "10de", "product_id": "1430"}']
)


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


class Kernel(Replayed):
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

    def _may(self, what: str, place: Address) -> None:
        for key in ((what, place), (what, None)):
            if key in self.refuses:
                raise errors.Unavailable(f"the kernel does no {what}")

    def lose(self, place: Address) -> None:
        """The function falls off its bus."""
        self._bindings.pop(place)
        self.identities.pop(place)

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
            return Identity(0xFFFF, 0xFFFF)
        return super().identity(address)

    def reset_function(self, address: Address) -> None:
        self._may("reset", address)
        super().reset_function(address)

    def reset_bus(self, address: Address, iommu_group: int) -> None:
        self._may("reset", address)
        self.reset_groups.append(iommu_group)
        super().reset_bus(address, iommu_group)


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

    def require_idle(self, address: Address) -> None:
        self._kernel.require_idle(address)

    def reset_function(self, address: Address) -> None:
        self._acts.do("reset", lambda: self._kernel.reset_function(address))

    def reset_bus(self, address: Address, iommu_group: int) -> None:
        self._acts.do(
            "reset", lambda: self._kernel.reset_bus(address, iommu_group)
        )

    def identity(self, address: Address) -> Identity | Unknown:
        return self._kernel.identity(address)


class CountedJournal(Journal):
    def __init__(self, folder: str, acts: Acts) -> None:
        super().__init__(folder)
        self._acts = acts

    def write(self, instance: Instance) -> None:
        write = super().write
        self._acts.do("journal", lambda: write(instance))

    def remove(self, uuid: str) -> None:
        remove = super().remove
        self._acts.do("journal", lambda: remove(uuid))


class CountedHypervisor(Hypervisor):
    def __init__(self, acts: Acts) -> None:
        super().__init__(URI)
        self._acts = acts

    def start(self, xml: str) -> None:
        start = super().start
        self._acts.do("start", lambda: start(xml))

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        shut_down = super().shut_down
        return self._acts.do("stop", lambda: shut_down(uuid, timeout_s))

    def destroy(self, uuid: str) -> None:
        destroy = super().destroy
        self._acts.do("stop", lambda: destroy(uuid))


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

    def cordon(self, host: str, reason: str) -> HostRecord:
        return self._ledger.cordon(host, reason)

    def uncordon(self, host: str) -> HostRecord:
        return self._ledger.uncordon(host)

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


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """All that a boot or a release changes, but for generations."""

    bindings: tuple[tuple[Address, Binding], ...]
    ledger: tuple[tuple[str, str, str | None, str], ...]
    journal: tuple[Instance, ...]
    guests: frozenset[str]


class World:
    """The host, its ledger and its guests; ``site()`` acts on them.

    Three cards are on nouveau and snd_hda_intel when it begins, and their
    units are published.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = seed().tree()
        found = discovery.functions(self.tree)
        self.bindings = {
            f.address: Binding(_driver(f.class_code, f.driver), None)
            for f in found
        }
        self.kernel = Kernel(
            self.bindings,
            {
                f.address: Identity(
                    known(f.vendor_id) or 0, known(f.product_id) or 0
                )
                for f in found
            },
        )
        self.said: list[str] = []
        self.ledger = SqlLedger(
            LedgerSettings(f"sqlite:///{folder}/ledger.sqlite")
        )
        self.ledger.sync()
        self.journal = Journal(str(folder / "instances"))
        # Open for as long as this is: its guests would go with the last.
        self.hypervisor = Hypervisor(URI)
        self.site().ledger.publish(HOST, self.site().units())

    def close(self) -> None:
        for uuid in self.guests():
            self.hypervisor.destroy(uuid)
        self.hypervisor.__exit__(None, None, None)
        self.ledger.close()

    def site(self, acts: Acts | None = None) -> Site:
        """The host, to act on through ``acts``."""
        counted = acts or Acts()
        return Site(
            host=HOST,
            tree=self.tree,
            policy=POLICY,
            devices=CountedDevices(self.kernel, counted),
            connect=lambda: CountedHypervisor(counted),
            ledger=CountedLedger(self.ledger, counted),
            journal=CountedJournal(str(self.folder / "instances"), counted),
            lock=self.lock,
            stop_timeout_s=5,
            reset_timeout_s=0,
            restores_drivers=True,
            say=self.said.append,
        )

    def lock(self) -> AbstractContextManager[None]:
        return host_lock(
            f"file://{self.folder}/locks",
            HOST,
            folder=str(self.folder / "locks"),
            timeout_s=10,
            waiting=self.said.append,
        )

    def guests(self) -> frozenset[str]:
        """The guests that run, but for libvirt's own there."""
        running = self.hypervisor._connection.listAllDomains(
            libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        )
        return frozenset(
            guest.UUIDString() for guest in running if guest.name() != "test"
        )

    def snapshot(self) -> Snapshot:
        return Snapshot(
            bindings=tuple(
                (place, self.kernel.binding(place)) for place in self.bindings
            ),
            ledger=tuple(
                (str(r.unit.key), str(r.state), r.consumer, r.reason)
                for r in self.ledger.records()
            ),
            journal=self.journal.instances(),
            guests=self.guests(),
        )

    def states(self) -> list[str]:
        return [str(record.state) for record in self.ledger.records()]


def _driver(code: int | Unknown, driver: str | Unknown | None) -> str | None:
    if driver != "vfio-pci":
        return known(driver)
    return "nouveau" if code == 0x030000 else "snd_hda_intel"


def wanted(text: str = "gpu:1") -> Request:
    return request.parse(text, ALIASES)


def guest(
    uuid: str = UUID, name: str = "guest", devices: str = ""
) -> domain_xml.Domain:
    text = (
        f"<domain type='test'><name>{name}</name><uuid>{uuid}</uuid>"
        "<memory>1024</memory><os><type machine='q35'>hvm</type></os>"
        f"<devices>{devices}</devices></domain>"
    )
    return domain_xml.parse(text.encode(), f"{name}.xml")


def place(text: str) -> Address:
    return address.parse(text)
