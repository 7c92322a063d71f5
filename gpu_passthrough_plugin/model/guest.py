"""What libvirt on this host has of guests."""

from __future__ import annotations

import dataclasses
import enum

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import Unknown, Why


class GuestState(enum.StrEnum):
    """The state of an instance's guest.

    The first are libvirt's own.  ``gone``: libvirt has no such domain, though
    the guest was started; ``not started``: units were claimed for a guest
    that libvirt does not have yet; ``unknown``: libvirt did not answer, or
    the guest is on another host.
    """

    NO_STATE = "no state"
    RUNNING = "running"
    BLOCKED = "blocked"
    PAUSED = "paused"
    SHUTTING_DOWN = "shutting down"
    SHUT_OFF = "shut off"
    CRASHED = "crashed"
    SUSPENDED = "suspended"
    SAVED = "saved"
    GONE = "gone"
    NOT_STARTED = "not started"
    UNKNOWN = "unknown"


NOT_READ = Unknown(Why.MISSING, "its definition was not read")


@dataclasses.dataclass(frozen=True, slots=True)
class LibvirtDomain:
    """A domain that libvirt has, running or not.

    :param is_active: whether it runs, in whatever state.
    :param is_persistent: whether libvirt keeps its definition when it stops.
    :param has_saved_state: whether its memory is saved to the disk, for its
        next start.
    :param is_autostarted: whether libvirt starts it with the host.
    :param defined_functions: functions of the host that its definition takes
        at the next start; none for a transient domain; unknown where the
        definition was not read, or may take further ones.
    """

    uuid: str
    name: str
    state: GuestState
    is_active: bool
    is_persistent: bool
    has_saved_state: bool
    defined_functions: frozenset[Address] | Unknown = NOT_READ
    is_autostarted: bool = False

    @property
    def definition(self) -> str:
        """How libvirt keeps it: until it stops, or for the next start."""
        if not self.is_persistent:
            return "transient"
        return "defined, autostart" if self.is_autostarted else "defined"

    @property
    def has_ended(self) -> bool:
        """Whether it neither runs nor was saved to the disk.

        A guest that Nova suspended is saved.
        """
        return not (self.is_active or self.has_saved_state)
