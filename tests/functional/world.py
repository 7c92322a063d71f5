"""A recorded host to act on, its ledger and its guests.

The ledger (SQLite), the lock, the journal and libvirt's driver for tests
are real; the functions' drivers change hands in memory.
"""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from pathlib import Path

import libvirt
import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.compute.health import HealthLimits
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.unit_health import HealthChecks
from gpu_passthrough_plugin.formats import domain_xml, nova_alias
from gpu_passthrough_plugin.host.ended_guests import EndedGuests
from gpu_passthrough_plugin.host.event_counters import EventCounters
from gpu_passthrough_plugin.host.health_baselines import HealthBaselines
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.host.locks import HostLock
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import address, request, selector
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Binding, Identity
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.request import Request
from tests.functional.acts import (
    URI,
    Acts,
    CountedDevices,
    CountedJournal,
    CountedLedger,
    Kernel,
)
from tests.functional.counted_hypervisor import CountedHypervisor
from tests.trees.host import Host
from tests.trees.seed import seed

HOST = "hyhive"
UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
OTHER = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"
POLICY = Policy((selector.parse("class=03"),))
ALIASES = nova_alias.parse_aliases(
    ['{"name": "gpu", "vendor_id": "10de", "product_id": "1430"}']
)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """All that a boot or a release changes, but for generations."""

    bindings: tuple[tuple[Address, Binding], ...]
    ledger: tuple[tuple[str, str, str | None, str], ...]
    journal: tuple[Instance, ...]
    guests: frozenset[str]


class World:
    """The host, its ledger and its guests; ``context()`` acts on them.

    Three cards are on nouveau and snd_hda_intel when it begins, and their
    units are published.

    :param host: the recorded host.
    :param ledger: empty; None for one in SQLite.
    """

    def __init__(
        self,
        folder: Path,
        host: Host | None = None,
        ledger: LedgerDriver | None = None,
    ) -> None:
        self.folder = folder
        self.tree = (host or seed()).tree()
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
        self.ledger: LedgerDriver = ledger or SqlLedger(
            LedgerSettings(f"sqlite:///{folder}/ledger.sqlite")
        )
        self.ledger.sync()
        self.journal = InstanceJournal(str(folder / "instances"))
        self.ended = EndedGuests(str(folder / "ended"))
        # Open for as long as this is: its guests would go with the last.
        self.hypervisor = Hypervisor(URI)
        self.context().ledger.publish(HOST, self.context().units())

    def close(self) -> None:
        for uuid in self.guests():
            self.hypervisor.destroy(uuid)
        for domain in self.domains():
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        self.hypervisor.__exit__(None, None, None)
        self.ledger.close()

    def context(self, acts: Acts | None = None) -> HostContext:
        """The host, to act on through ``acts``."""
        counted = acts or Acts()
        return HostContext(
            host=HOST,
            tree=self.tree,
            policy=POLICY,
            devices=CountedDevices(self.kernel, counted),
            connect=lambda: CountedHypervisor(counted, self.kernel),
            ledger=CountedLedger(self.ledger, counted),
            journal=CountedJournal(str(self.folder / "instances"), counted),
            ended=self.ended,
            lock=self.lock,
            stop_timeout_s=5,
            reset_timeout_s=0,
            restores_drivers=True,
            say=self.said.append,
            health=HealthChecks(
                HealthBaselines(str(self.folder / "health")), HealthLimits()
            ),
            count=EventCounters(str(self.folder / "metrics")).count,
        )

    def lock(self) -> AbstractContextManager[None]:
        return HostLock(
            f"file://{self.folder}/locks",
            HOST,
            folder=str(self.folder / "locks"),
            timeout_s=10,
            on_wait=self.said.append,
        )()

    def guests(self) -> frozenset[str]:
        """The guests that run, but for libvirt's own there."""
        running = self.hypervisor._connection.listAllDomains(
            libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        )
        return frozenset(
            guest.UUIDString() for guest in running if guest.name() != "test"
        )

    def domains(self) -> list[libvirt.virDomain]:
        """The domains that are defined, but for libvirt's own there."""
        defined = self.hypervisor._connection.listAllDomains(
            libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT
        )
        return [domain for domain in defined if domain.name() != "test"]

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


def refused(call: object, *arguments: object) -> str:
    assert callable(call)
    with pytest.raises(errors.Error) as caught:
        call(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)
