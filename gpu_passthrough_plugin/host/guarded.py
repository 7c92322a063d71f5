"""Acts on this host, before each of which its lock is asked for.

What only reads is let through.  The ledger needs no such guard: its
generations refuse who lost the lock.
"""

from __future__ import annotations

from collections.abc import Callable

from gpu_passthrough_plugin.host.devices import Devices
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.host.instance_journal import Journal
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.binding import Binding, Rebind
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.reading import Unknown

Require = Callable[[], None]
"""Nothing, where the lock is still held; raises Unavailable otherwise."""


class GuardedDevices:
    """The functions, none of which is touched without the lock."""

    def __init__(self, devices: Devices, require: Require) -> None:
        self._devices = devices
        self._require = require

    def prepare(self) -> None:
        self._require()
        self._devices.prepare()

    def binding(self, address: Address) -> Binding:
        return self._devices.binding(address)

    def rebind(self, rebind: Rebind) -> None:
        self._require()
        self._devices.rebind(rebind)

    def require_idle(self, address: Address) -> None:
        self._devices.require_idle(address)

    def reset_function(self, address: Address) -> None:
        self._require()
        self._devices.reset_function(address)

    def reset_bus(self, address: Address, iommu_group: int) -> None:
        self._require()
        self._devices.reset_bus(address, iommu_group)

    def identity(self, address: Address) -> Identity | Unknown:
        return self._devices.identity(address)


class GuardedHypervisor(Hypervisor):
    """libvirt, where no guest starts or ends without the lock."""

    def __init__(self, uri: str, require: Require) -> None:
        super().__init__(uri)
        self._require = require

    def start(self, xml: str) -> None:
        self._require()
        super().start(xml)

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        self._require()
        return super().shut_down(uuid, timeout_s)

    def destroy(self, uuid: str) -> None:
        self._require()
        super().destroy(uuid)


class GuardedJournal(Journal):
    """The journal, which who lost the lock leaves to the next one."""

    def __init__(self, folder: str, require: Require) -> None:
        super().__init__(folder)
        self._require = require

    def write(self, instance: Instance) -> None:
        self._require()
        super().write(instance)

    def remove(self, uuid: str) -> None:
        self._require()
        super().remove(uuid)
