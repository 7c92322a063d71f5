"""How guests are started, stopped and read through libvirt."""

from __future__ import annotations

import contextlib
import logging
import time
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import libvirt

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.guest import (
    NOT_READ,
    GuestState,
    LibvirtDomain,
)

_LOG = logging.getLogger(__name__)

# libvirt's event for a stopped guest needs a loop, which no command runs.
_POLL_S = 0.2
# How much of libvirt's own words a message has: with QEMU's, at its end.
_MAX_ERROR = 1000
_KEEP_STATE = (
    libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
)

# Source: libvirt, libvirt-domain.h (virDomainState).
_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: GuestState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: GuestState.BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED: GuestState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: GuestState.SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: GuestState.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: GuestState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: GuestState.SUSPENDED,
}


def version() -> int:
    """Return the version of this host's libvirt: 6005000 is 6.5.0."""
    return int(libvirt.getVersion())


class NamedDomain(NamedTuple):
    """A domain that libvirt has.

    :param has_saved_state: whether its memory is saved to the disk, for its
        next start.
    """

    uuid: str
    has_saved_state: bool


class Hypervisor:
    """One connection to libvirt.

    :param require_lock: called before a guest starts or stops; raises when
        the host's lock was lost.
    :raises Unavailable: when libvirt does not answer at ``uri``.
    """

    def __init__(
        self, uri: str, require_lock: Callable[[], None] = lambda: None
    ) -> None:
        self._require_lock = require_lock
        # Its errors are raised; libvirt need not print them as well.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        self._uri = uri
        try:
            self._connection = self._open(uri)
        except libvirt.libvirtError as error:
            raise errors.Unavailable(
                f"libvirt does not answer at {uri}: {error}; is libvirtd"
                " running? ([libvirt] connection_uri)"
            ) from error

    def _open(self, uri: str) -> Any:
        return libvirt.open(uri)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._connection.close()

    def start(self, xml: str) -> None:
        """Start a transient guest: it exists for as long as it runs.

        :raises Refused: with libvirt's own reason.
        """
        with self._changing("did not start the guest"):
            domain = self._connection.createXML(xml, 0)
            _LOG.info("started guest %s", domain.UUIDString())

    def define(self, xml: str) -> None:
        """Define a domain, or replace its definition.

        :raises Refused: with libvirt's own reason.
        """
        with self._changing("did not define the domain"):
            domain = self._connection.defineXML(xml)
            _LOG.info("defined domain %s", domain.UUIDString())

    def undefine(self, uuid: str) -> None:
        """Remove a domain's definition; its NVRAM and TPM state stay.

        Source: libvirt, qemu/qemu_tpm.c (qemuExtTPMCleanupHost): without a
        flag it deletes the state of a TPM, and the keys in that.

        :raises Refused: with libvirt's own reason, as where it has snapshots.
        """
        with self._changing("keeps the domain"):
            try:
                domain = self._connection.lookupByUUIDString(uuid)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return
            _LOG.info("undefine domain %s", uuid)
            try:
                domain.undefineFlags(_KEEP_STATE)
            except libvirt.libvirtError as error:
                # A driver that keeps no such state does not know the flags.
                if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
                    raise
                domain.undefine()

    def start_defined(self, uuid: str) -> None:
        """Start a domain from its definition.

        :raises Refused: with libvirt's own reason.
        """
        with self._changing("did not start the guest"):
            self._connection.lookupByUUIDString(uuid).create()
            _LOG.info("started guest %s", uuid)

    def set_autostart(self, uuid: str) -> None:
        """Have libvirt start a defined domain with the host.

        :raises Refused: with libvirt's own reason.
        """
        with self._changing("does not start the domain with the host"):
            self._connection.lookupByUUIDString(uuid).setAutostart(1)

    def plug(self, uuid: str, xml: str) -> None:
        """Plug a device into a running guest.

        :raises Refused: with libvirt's own reason.
        """
        with self._changing("did not plug it in"):
            domain = self._connection.lookupByUUIDString(uuid)
            _LOG.info("plug a device into guest %s", uuid)
            domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def unplug(self, uuid: str, xml: str) -> str:
        """Ask a running guest to give up a device, now or later.

        Only its live XML shows whether it has.  Return libvirt's reason if
        it did not ask; else "".
        """
        self._require_lock()
        try:
            domain = self._connection.lookupByUUIDString(uuid)
            _LOG.info("unplug a device from guest %s", uuid)
            domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except libvirt.libvirtError as error:
            return _shortened(error)
        return ""

    @contextlib.contextmanager
    def _changing(self, failure: str) -> Iterator[None]:
        """Raise what libvirt refuses, under the host's lock.

        :param failure: what libvirt did, as the message has it.
        """
        self._require_lock()
        try:
            yield
        except libvirt.libvirtError as error:
            raise errors.Refused(
                f"libvirt {failure}: {_shortened(error)}"
            ) from error

    def live_xml(self, uuid: str) -> str | None:
        """Return the running guest's present XML; None if it does not run."""
        domain = self._active(uuid)
        xml: str | None = domain and self._asked(domain.XMLDesc)
        return xml

    def domain(self, uuid: str) -> LibvirtDomain | None:
        """Return a domain, running or defined; None if there is none."""
        try:
            return _described(self._connection.lookupByUUIDString(uuid))
        except libvirt.libvirtError as error:
            self._raise_unless_absent(error)
            return None

    def has_ended(self, uuid: str) -> bool:
        """Return whether a guest neither runs nor was saved to the disk."""
        try:
            domain = self._connection.lookupByUUIDString(uuid)
            return _described(domain).has_ended
        except libvirt.libvirtError as error:
            self._raise_unless_absent(error)
            return True

    def domains(self) -> tuple[LibvirtDomain, ...]:
        """Return every domain, running or defined.

        :raises Unavailable: when one cannot be described, so that what is
            missing here does not exist.
        """
        try:
            listed = self._connection.listAllDomains(0)
            domains = [self._listed(domain) for domain in listed]
        except libvirt.libvirtError as error:
            raise self._unanswered(error) from error
        return tuple(domain for domain in domains if domain is not None)

    def _listed(self, domain: Any) -> LibvirtDomain | None:
        try:
            return _described(domain)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None

    def defined_xml(self, uuid: str, *, is_whole: bool = False) -> str | None:
        """Return a domain's XML for its next start; None if it has none.

        :param is_whole: with passwords, to define it again.
        """
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE
        if is_whole:
            flags |= libvirt.VIR_DOMAIN_XML_SECURE
        try:
            domain = self._connection.lookupByUUIDString(uuid)
            if not domain.isPersistent():
                return None
            xml: str = domain.XMLDesc(flags)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise self._unanswered(error) from error
            return None
        return xml

    def named(self, name: str) -> NamedDomain | None:
        """Return the domain of this name, running or not; None without one.

        libvirt starts a domain that it has defined from another document
        too, if that has its name and its UUID.
        """
        try:
            domain = self._connection.lookupByName(name)
            return NamedDomain(
                domain.UUIDString(), bool(domain.hasManagedSaveImage())
            )
        except libvirt.libvirtError as error:
            self._raise_unless_absent(error)
            return None

    def shut_down(self, uuid: str, timeout_s: float) -> bool:
        """Request a shutdown by ACPI; return if the guest stopped in time.

        A guest without ACPI cannot be asked, and does not stop.
        """
        self._require_lock()
        domain = self._active(uuid)
        if domain is None:
            return True
        try:
            _LOG.info("shut down guest %s", uuid)
            self._ask_to_go(domain)
        except libvirt.libvirtError:
            return self._active(uuid) is None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._active(uuid) is None:
                return True
            time.sleep(_POLL_S)
        return self._active(uuid) is None

    def _ask_to_go(self, domain: Any) -> None:
        domain.shutdown()

    def destroy(self, uuid: str) -> None:
        """Power the guest off, if it runs."""
        self._require_lock()
        domain = self._active(uuid)
        if domain is not None:
            _LOG.info("power off guest %s", uuid)
            self._asked(domain.destroy)

    def _active(self, uuid: str) -> Any:
        try:
            domain = self._connection.lookupByUUIDString(uuid)
            return domain if domain.isActive() else None
        except libvirt.libvirtError as error:
            self._raise_unless_absent(error)
            return None

    def _asked(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except libvirt.libvirtError as error:
            self._raise_unless_absent(error)
            return None

    def _raise_unless_absent(self, error: libvirt.libvirtError) -> None:
        """Ignore that a guest stopped by itself meanwhile."""
        gone = (
            libvirt.VIR_ERR_NO_DOMAIN,
            libvirt.VIR_ERR_OPERATION_INVALID,
        )
        if error.get_error_code() not in gone:
            raise self._unanswered(error) from error

    def _unanswered(self, error: libvirt.libvirtError) -> errors.Unavailable:
        return errors.Unavailable(f"libvirt at {self._uri}: {error}")


def _described(domain: Any) -> LibvirtDomain:
    """Return what libvirt has of a domain, but for its definition."""
    is_active = bool(domain.isActive())
    is_persistent = bool(domain.isPersistent())
    has_saved_state = bool(domain.hasManagedSaveImage())
    state = _STATES.get(domain.state()[0], GuestState.NO_STATE)
    if has_saved_state and not is_active:
        state = GuestState.SAVED
    return LibvirtDomain(
        uuid=domain.UUIDString(),
        name=domain.name(),
        state=state,
        is_active=is_active,
        is_persistent=is_persistent,
        has_saved_state=has_saved_state,
        defined_functions=NOT_READ if is_persistent else frozenset(),
        is_autostarted=is_persistent and bool(domain.autostart()),
    )


def _shortened(error: libvirt.libvirtError) -> str:
    """Return libvirt's own words in one line of bounded length."""
    text = " ".join(str(error).split())
    if len(text) > _MAX_ERROR:
        text = f"{text[: _MAX_ERROR - 1]}…"
    return text
