"""What a recorded host of a sandbox has that changes: drivers and guests.

Both are in one file.  libvirt's test driver keeps domains only for as long as
a connection is open, so that each connection gets them from that file.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import libvirt

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import domain_xml, libvirt_test_node
from gpu_passthrough_plugin.formats.host_devices import (
    HostFunction,
    host_functions,
)
from gpu_passthrough_plugin.formats.libvirt_test_node import NodeDomain
from gpu_passthrough_plugin.host.sandbox_folder import write
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import (
    VFIO,
    Binding,
    Identity,
    Rebind,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown

_FORMAT = 1
_MALFORMED = (
    ValueError, KeyError, TypeError, AttributeError, RecursionError,
    errors.Invalid,
)  # fmt: skip
_UNCHANGED = (0, 0)
# What reads as ones does not respond.
_SILENT = Identity(0xFFFF, 0xFFFF)


@dataclasses.dataclass(frozen=True, slots=True)
class SandboxGuest:
    """A domain of libvirt's test driver.

    :param live: its XML while it runs; None while it does not.
    :param definition: its XML for the next start; None for a transient one.
    :param managed: what libvirt bound to vfio-pci for it, and has to undo.
    """

    name: str
    live: str | None
    definition: str | None
    is_autostarted: bool = False
    managed: tuple[Rebind, ...] = ()

    def functions(self) -> tuple[HostFunction, ...]:
        """Return the host's functions that the running guest has."""
        if self.live is None:
            return ()
        root = domain_xml.tree(self.live.encode(), self.name).getroot()
        return host_functions(root).functions


class SandboxMachine:
    """The drivers and guests of one recorded host, kept in a file.

    :param path: of the file; it is missing until something is changed.
    :param recorded: the bindings of the recording.
    :param show: called with each function that is bound otherwise than
        before, so that the recorded tree shows it.

    Whoever edits the file plays a part of the machine: a guest that is not in
    it any more has ended, and a function in ``silent`` does not respond.
    """

    def __init__(
        self,
        path: str,
        recorded: Mapping[Address, Binding],
        show: Callable[[Address, Binding], None],
    ) -> None:
        self._path = path
        self._recorded = recorded
        self._show = show
        self._stamp = _UNCHANGED
        self._connection: Any = None
        self.bindings = dict(recorded)
        self.guests: Mapping[str, SandboxGuest] = {}
        self.silent: frozenset[Address] = frozenset()
        self.refresh()

    def refresh(self) -> None:
        """Read what another process changed meanwhile.

        :raises Invalid: when the file is malformed.
        """
        if self._stamp_now() == self._stamp:
            return
        try:
            with open(self._path, encoding="utf-8") as file:
                self._stamp = _stamp(os.fstat(file.fileno()))
                document = json.load(file)
            if document["format"] != _FORMAT:
                raise ValueError(f"format {document['format']!r}")
            changed = {
                address.parse(text): Binding(*binding)
                for text, binding in document["bindings"].items()
            }
            self.silent = frozenset(map(address.parse, document["silent"]))
            self.guests = {
                uuid: _guest(item) for uuid, item in document["guests"].items()
            }
        except OSError as error:
            raise errors.ReadFailed(
                f"cannot read {self._path}: {error.strerror}"
            ) from error
        except _MALFORMED as error:
            raise errors.Invalid(
                f"{self._path} is not of this release, or damaged ({error!r});"
                " make another sandbox"
            ) from error
        for place, binding in {**self._recorded, **changed}.items():
            if place in self.bindings and binding != self.bindings[place]:
                self._bind(place, binding)
        self._connection = None

    def recorded(self, place: Address) -> Binding:
        """Return how the recording has a function bound."""
        return self._recorded[place]

    def bind(self, place: Address, binding: Binding) -> None:
        """Keep a function's new driver, and show it."""
        self._bind(place, binding)
        self._save()

    def keep(self, guests: Mapping[str, SandboxGuest]) -> None:
        """Keep the guests as they are now."""
        self.guests = guests
        self._save()

    def connection(self) -> Any:
        """Return libvirt's test driver with the guests, as they are now."""
        self.refresh()
        if self._connection is None:
            self._connection = self._connected()
        return self._connection

    def disconnect(self) -> None:
        """Have the next connection get the guests anew."""
        self._connection = None

    def _connected(self) -> Any:
        node = libvirt_test_node.node(
            NodeDomain(
                guest.live or guest.definition or "",
                is_running=guest.live is not None,
                is_transient=guest.definition is None,
            )
            for guest in self.guests.values()
        )
        # Nothing of it needs to outlive this call.
        handle = os.memfd_create("libvirt-test")
        try:
            os.write(handle, node)
            connection = libvirt.open(f"test:///proc/self/fd/{handle}")
        finally:
            os.close(handle)
        for uuid, guest in self.guests.items():
            if guest.live is not None and guest.definition is not None:
                connection.defineXML(guest.definition)
            if guest.is_autostarted:
                connection.lookupByUUIDString(uuid).setAutostart(1)
        return connection

    def _bind(self, place: Address, binding: Binding) -> None:
        self.bindings[place] = binding
        self._show(place, binding)

    def _save(self) -> None:
        document = {
            "format": _FORMAT,
            "silent": sorted(map(str, self.silent)),
            "bindings": {
                str(place): list(binding)
                for place, binding in self.bindings.items()
                if binding != self._recorded[place]
            },
            "guests": {
                uuid: _guest_document(guest)
                for uuid, guest in self.guests.items()
            },
        }
        write(self._path, f"{json.dumps(document, indent=1)}\n".encode())
        self._stamp = self._stamp_now()

    def _stamp_now(self) -> tuple[int, int]:
        try:
            return _stamp(os.stat(self._path))
        except FileNotFoundError:
            return _UNCHANGED


def probed(recorded: Binding) -> Binding:
    """Return what a recorded host's kernel makes of a function that it probes.

    No module tells there what it drives.
    """
    is_vfio = recorded.driver == VFIO.driver
    return Binding(None if is_vfio else recorded.driver, None)


class RecordedDevices:
    """The functions of a recorded host, changed in memory only.

    For the demonstration, which shows what would be done to a real host.

    :param bindings: of every function of the recording.
    :param identities: the ids of each function.
    """

    def __init__(
        self,
        bindings: dict[Address, Binding],
        identities: dict[Address, Identity],
    ) -> None:
        self._bindings = dict(bindings)
        self._first = dict(bindings)
        self._identities = identities

    def prepare(self) -> None:
        return

    def binding(self, address: Address) -> Binding:
        try:
            return self._bindings[address]
        except KeyError as error:
            raise errors.ReadFailed(
                f"{address} is not in the recording"
            ) from error

    def rebind(self, rebind: Rebind) -> None:
        self._bindings[rebind.address] = rebind.becomes

    def probe(self, address: Address) -> None:
        self._bindings[address] = probed(self._first[address])

    def require_idle(self, address: Address) -> None:
        self.binding(address)

    def reset_function(
        self, address: Address, method: str | None = None
    ) -> None:
        self._only_vfio(address)

    def reset_bus(
        self, address: Address, iommu_group: int, others: Sequence[int] = ()
    ) -> None:
        self._only_vfio(address)

    def _only_vfio(self, address: Address) -> None:
        # In memory there is no more to tell a VFIO driver by.
        if "vfio" not in (self.binding(address).driver or ""):
            raise errors.Refused(f"{address} is not on a VFIO driver")

    def identity(self, address: Address) -> Identity | Unknown:
        return self._identities.get(address, MISSING)


class SandboxDevices(RecordedDevices):
    """The functions of a recorded host of a sandbox.

    :param identities: the ids of each function.
    :param groups: the IOMMU group of each function.
    :param require_lock: called before each change; raises when the host's
        lock was lost.
    """

    def __init__(
        self,
        machine: SandboxMachine,
        identities: dict[Address, Identity],
        groups: Mapping[Address, int],
        require_lock: Callable[[], None],
    ) -> None:
        super().__init__({}, identities)
        self._machine = machine
        self._groups = groups
        self._require_lock = require_lock

    def binding(self, address: Address) -> Binding:
        try:
            return self._machine.bindings[address]
        except KeyError as error:
            raise errors.ReadFailed(
                f"{address} is not in the recording"
            ) from error

    def rebind(self, rebind: Rebind) -> None:
        self._require_lock()
        self.binding(rebind.address)
        self._machine.bind(rebind.address, rebind.becomes)

    def identity(self, address: Address) -> Identity | Unknown:
        if address in self._machine.silent:
            return _SILENT
        return super().identity(address)

    def probe(self, address: Address) -> None:
        self._require_lock()
        self.require_idle(address)
        self._machine.bind(address, probed(self._machine.recorded(address)))

    def require_idle(self, address: Address) -> None:
        self.binding(address)
        group = self._groups.get(address)
        for guest in self._machine.guests.values():
            for function in guest.functions():
                if self._groups.get(function.address) == group:
                    raise errors.Refused(
                        f"IOMMU group {group} is in use: guest {guest.name}"
                        f" has {function.address}; stop it first"
                    )


def _guest(item: dict[str, Any]) -> SandboxGuest:
    return SandboxGuest(
        str(item["name"]),
        item["live"],
        item["definition"],
        bool(item["autostart"]),
        tuple(
            Rebind(address.parse(place), Binding(*was), Binding(*becomes))
            for place, was, becomes in item["managed"]
        ),
    )


def _guest_document(guest: SandboxGuest) -> dict[str, object]:
    return {
        "name": guest.name,
        "live": guest.live,
        "definition": guest.definition,
        "autostart": guest.is_autostarted,
        "managed": [
            [str(r.address), list(r.was), list(r.becomes)]
            for r in guest.managed
        ],
    }


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_mtime_ns
