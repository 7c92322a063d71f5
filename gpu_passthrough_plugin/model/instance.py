"""Instances: what a host remembers of one, and all that is known of one."""

from __future__ import annotations

import dataclasses
import enum
import uuid as uuids
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import Allocation, MalformedUnit
from gpu_passthrough_plugin.model.function import Rebind
from gpu_passthrough_plugin.model.guest import GuestState
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.unit import State

# Not one that exists, or that anything uses by default.
_EXAMPLE = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
_NIL = str(uuids.UUID(int=0))


def parse_uuid(text: str) -> str:
    """Return a UUID in its canonical form.

    :raises Invalid: when the text is not a UUID.
    """
    try:
        return str(uuids.UUID(text))
    except ValueError as error:
        raise errors.Invalid(
            f"{text!r} is not a UUID; expected one such as {_EXAMPLE}"
        ) from error


def parse_consumer(text: str) -> str:
    """Return the UUID of a new consumer in its canonical form.

    :raises Invalid: when the text is not a UUID, or is the nil UUID, which
        stands for none.  Source: RFC 9562, section 5.9.
    """
    uuid = parse_uuid(text)
    if uuid == _NIL:
        raise errors.Invalid(
            f"{text!r} is the nil UUID, which stands for no consumer; expected"
            f" one such as {_EXAMPLE}"
        )
    return uuid


class Phase(enum.StrEnum):
    """What was being done with an instance when it was written."""

    BOOTING = "booting"
    ACTIVE = "active"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"
    RELEASING = "releasing"
    QUARANTINED = "quarantined"


INTERRUPTED = frozenset(
    {Phase.BOOTING, Phase.ATTACHING, Phase.DETACHING, Phase.RELEASING}
)
"""The phases in which a command is at an instance, or died at it."""


class Definition(NamedTuple):
    """What libvirt's definition of a domain was given for its instance.

    :param functions: of the host.
    :param ports: indexes of the root ports that were added for them.
    :param is_own: whether a command defined the domain itself.
    :param digest: of the whole definition as libvirt had it then; "" where
        it is not known, or another one defined the domain.
    """

    functions: tuple[Address, ...]
    ports: tuple[int, ...] = ()
    is_own: bool = False
    digest: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """One instance, as its host's journal has it.

    It is written before each step, so that after a crash the next command
    knows what to undo.

    :param uuid: of the domain, and the ledger's consumer.
    :param keeps_claim: whether the claim existed before the boot began, so
        that it stays when the boot fails.
    :param was_started: whether the guest was, or was about to be, started:
        then its functions are not clean.
    :param is_stopped: libvirt's hook reported that the guest ended; libvirt
        is not asked, since it does not answer while the guest restarts.
    :param own: functions that the domain's own XML passes through.
    :param rebinds: how each function was, or is about to be, rebound; a
        release restores their ``was``.
    :param cleaned: lowest primaries of units that were found clean after
        the guest.
    :param definition: what the domain's definition has of its units; None
        where that has none of them.
    :param keeps_definition: whether a release only ends one run of the guest:
        claim and definition stay.
    :param detaching: lowest primaries of the units that are being detached.
    :param boot_id: the kernel's id of the boot in which a unit was
        quarantined; empty where it is not known.
    :param is_live: whether an attach plugs its functions into the running
        guest.
    """

    uuid: str
    name: str = ""
    request: str = ""
    phase: Phase = Phase.RELEASING
    keeps_claim: bool = False
    was_started: bool = True
    is_stopped: bool = False
    own: tuple[Address, ...] = ()
    rebinds: tuple[Rebind, ...] = ()
    cleaned: tuple[Address, ...] = ()
    definition: Definition | None = None
    keeps_definition: bool = False
    detaching: tuple[Address, ...] = ()
    boot_id: str = ""
    is_live: bool = False

    @property
    def defined_functions(self) -> frozenset[Address]:
        """The functions that the domain's definition was given."""
        return frozenset(self.definition.functions if self.definition else ())

    @property
    def functions(self) -> frozenset[Address]:
        """The functions that were bound for it, or that it was given."""
        bound = {rebind.address for rebind in self.rebinds}
        return self.defined_functions | bound


class NamedInstance(NamedTuple):
    """What a text names.

    :param name: of the guest on this host; empty where it is not known.
    """

    uuid: str
    name: str

    def __str__(self) -> str:
        return f"{self.uuid} ({self.name})" if self.name else self.uuid


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceRecord:
    """An instance, with what is known of it.

    :param name: of its guest; empty where it is not known.
    :param allocation: what it holds; None where only the journal has it, or
        where no record of its units can be read.
    :param malformed: its units whose records cannot be read.
    :param instance: as this host's journal has it; None if it does not.
    :param since_s: when it became active, in seconds since 1970; None where
        that is not recorded.
    :param definition: how libvirt keeps its domain; empty where there is
        none, or that is not known.
    """

    uuid: str
    name: str
    host: str
    allocation: Allocation | None
    malformed: tuple[MalformedUnit, ...]
    instance: Instance | None
    guest: GuestState
    since_s: float | None = None
    definition: str = ""

    @property
    def states(self) -> tuple[State, ...]:
        """The states that its units are in, each once, in order of life."""
        return self.allocation.states if self.allocation else ()

    @property
    def is_attached(self) -> bool:
        """Whether libvirt starts and stops its guest, by its definition."""
        instance = self.instance
        return instance is not None and instance.phase is Phase.ATTACHED

    @property
    def is_of_hook(self) -> bool:
        """Whether the libvirt hook claimed its units."""
        allocation = self.allocation
        return bool(allocation and allocation.request == HOOK_REQUEST)

    @property
    def claimed_by(self) -> str:
        """Who claimed its units: ``hook`` or ``command``; empty if unknown."""
        request = self.allocation.request if self.allocation else ""
        if self.is_of_hook:
            return "hook"
        return "command" if request or self.instance else ""
