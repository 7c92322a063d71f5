"""libvirt's test driver as the libvirt of a sandbox's host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import libvirt

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import libvirt_test_node
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.host.sandbox_machine import (
    SandboxDevices,
    SandboxGuest,
    SandboxMachine,
)
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import VFIO, Rebind


class SandboxHypervisor(Hypervisor):
    """libvirt's test driver, whose guests outlive the connection.

    It plugs no devices by itself, and binds none: what libvirt's driver for
    QEMU does about those is done here.
    """

    def __init__(
        self,
        machine: SandboxMachine,
        devices: SandboxDevices,
        require_lock: Callable[[], None],
    ) -> None:
        self._machine = machine
        self._devices = devices
        super().__init__("test:///", require_lock)

    def _open(self, _uri: str) -> Any:
        return self._machine.connection()

    @property
    def _connection(self) -> Any:
        return self._machine.connection()

    @_connection.setter
    def _connection(self, _: Any) -> None:
        """Ignore one that was open: there is one for all of a process."""

    def __exit__(self, *_error: object) -> None:
        """Leave it open: its guests would go with it."""

    def start(self, xml: str) -> None:
        super().start(libvirt_test_node.as_test(xml))
        self._settle()

    def define(self, xml: str) -> None:
        super().define(libvirt_test_node.as_test(xml))
        self._settle()

    def undefine(self, uuid: str) -> None:
        super().undefine(uuid)
        self._settle()

    def start_defined(self, uuid: str) -> None:
        super().start_defined(uuid)
        self._settle()

    def set_autostart(self, uuid: str) -> None:
        super().set_autostart(uuid)
        self._settle()

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        has_stopped = super().shut_down(uuid, timeout_s)
        self._settle()
        return has_stopped

    def destroy(self, uuid: str) -> None:
        super().destroy(uuid)
        self._settle()

    def plug(self, uuid: str, xml: str) -> None:
        self._require_lock()
        guest = self._machine.guests.get(uuid)
        if guest is None or guest.live is None:
            raise errors.Refused(
                "libvirt did not plug it in: the guest does not run"
            )
        self._replug(uuid, libvirt_test_node.plugged(guest.live, xml))

    def unplug(self, uuid: str, xml: str) -> str:
        self._require_lock()
        guest = self._machine.guests.get(uuid)
        if guest is None or guest.live is None:
            return "the guest does not run"
        self._replug(uuid, libvirt_test_node.unplugged(guest.live, xml))
        return ""

    def _replug(self, uuid: str, live: str) -> None:
        """Have a running guest go on with other devices."""
        guests = dict(self._machine.guests)
        had = set(guests[uuid].functions())
        guests[uuid] = dataclasses.replace(guests[uuid], live=live)
        gone = {f.address for f in had.difference(guests[uuid].functions())}
        guests[uuid] = self._returned(guests[uuid], gone)
        self._machine.keep(guests)
        self._machine.disconnect()

    def _settle(self) -> None:
        """Keep what libvirt has now; bind what it manages, and return it."""
        former = self._machine.guests
        guests = {}
        for domain in self._connection.listAllDomains(0):
            uuid = domain.UUIDString()
            guest = _described(domain, former.get(uuid))
            was_live = uuid in former and former[uuid].live is not None
            if guest.live is not None and not was_live:
                guest = self._bound(guest)
            elif guest.live is None:
                guest = self._returned(guest)
            guests[uuid] = guest
        for uuid in former.keys() - guests.keys():
            self._returned(former[uuid])
        self._machine.keep(guests)

    def _bound(self, guest: SandboxGuest) -> SandboxGuest:
        rebinds = [
            Rebind(f.address, self._devices.binding(f.address), VFIO)
            for f in guest.functions()
            if f.is_managed
        ]
        managed = tuple(r for r in rebinds if r.was.driver != VFIO.driver)
        for rebind in managed:
            self._devices.rebind(rebind)
        return dataclasses.replace(guest, managed=managed)

    def _returned(
        self, guest: SandboxGuest, places: set[Address] | None = None
    ) -> SandboxGuest:
        """Return functions to their drivers.

        :param places: which; None for all.
        """
        kept = []
        for rebind in guest.managed:
            if places is None or rebind.address in places:
                self._devices.rebind(rebind.undo())
            else:
                kept.append(rebind)
        return dataclasses.replace(guest, managed=tuple(kept))


def _described(domain: Any, former: SandboxGuest | None) -> SandboxGuest:
    secure = libvirt.VIR_DOMAIN_XML_SECURE
    is_active, is_persistent = domain.isActive(), domain.isPersistent()
    inactive = secure | libvirt.VIR_DOMAIN_XML_INACTIVE
    return SandboxGuest(
        name=domain.name(),
        live=domain.XMLDesc(secure) if is_active else None,
        definition=domain.XMLDesc(inactive) if is_persistent else None,
        is_autostarted=bool(is_persistent and domain.autostart()),
        managed=former.managed if former else (),
    )
