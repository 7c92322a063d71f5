"""What may be out of step on a host, and what can be done about it."""

from __future__ import annotations

import dataclasses
import enum

from gpu_passthrough_plugin.model.unit import UnitKey


class Case(enum.StrEnum):
    """What may be out of step; the guide has a row on each."""

    INTERRUPTED = "interrupted"
    GUEST_ENDED = "guest-ended"
    GUEST_GONE = "guest-gone"
    GUEST_NOT_RECORDED = "guest-not-recorded"
    LEDGER_BEHIND = "ledger-behind"
    GUEST_CONFLICT = "guest-conflict"
    GUEST_UNREADABLE = "guest-unreadable"
    PARTIAL_GROUP = "partial-group"
    UNIT_UNUSED = "unit-unused"
    CLAIM_WITHOUT_GUEST = "claim-without-guest"
    INVENTORY = "inventory"
    UNIT_MISSING = "unit-missing"
    QUARANTINED = "quarantined"
    SUSPECT = "suspect"
    MALFORMED = "malformed"
    ONE_TIME_USE = "one-time-use"
    LIBVIRT = "libvirt"
    KERNEL = "kernel"
    HOST = "host"
    HOST_LOST = "host-lost"
    FENCED = "fenced"
    TASK = "task"


class Act(enum.StrEnum):
    """What is done about a finding."""

    RECOVER = "recover"
    """Complete or undo what was interrupted, and release what ended."""
    RELEASE = "release"
    """Release an instance whose guest has ended."""
    RECORD = "record"
    """Record units as active for the guest that runs with them."""
    QUARANTINE = "quarantine"
    """Quarantine units of which a running guest has no function."""
    PUBLISH = "publish"
    """Make the ledger's inventory what the host shows."""
    CLEAN = "clean"
    """Reset and check a unit that was given up when its host was fenced."""
    FORGET = "forget"
    """Drop an instance from the journal that was given up with its units."""
    UNCORDON = "uncordon"
    """Offer a host again that was marked as lost."""
    SUSPECT = "suspect"
    """Quarantine a free unit that is suspect."""
    CHECK = "check"
    """Check a suspect unit, and free it if it passes."""
    RECYCLE = "recycle"
    """Clean devices that Nova used once, and give them back."""
    TASK = "task"
    """Do what a command on another host asks for."""
    NONE = "none"
    """Nothing: it is no fault, or waits for a person."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is out of step.

    :param subject: a unit (``HOST/ADDRESS``), the UUID of an instance or
        task, or the host's name.
    :param detail: what was found.
    :param remedy: what a person does about it; empty where the agent acts,
        or nothing is to be done.
    :param consumer: the instance that the act is about; "" for none.
    :param request: the request that ``RECORD`` writes.
    :param units: that ``RECORD`` writes, or that the act is about.
    """

    case: Case
    subject: str
    detail: str
    act: Act = Act.NONE
    remedy: str = ""
    consumer: str = ""
    request: str = ""
    units: tuple[UnitKey, ...] = ()

    @property
    def has_act(self) -> bool:
        """Whether the agent does something about it."""
        return self.act is not Act.NONE

    @property
    def waits_for_person(self) -> bool:
        """Whether only a person can do something about it."""
        return not self.has_act and bool(self.remedy)
