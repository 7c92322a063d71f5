"""What a host remembers of an instance that it boots, runs or releases."""

from __future__ import annotations

import dataclasses
import enum

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Rebind


class Phase(enum.StrEnum):
    """What was being done when this was written."""

    BOOTING = "booting"
    ACTIVE = "active"
    RELEASING = "releasing"
    QUARANTINED = "quarantined"


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """One instance, as its host's journal has it.

    Written before each act, so that whoever comes after a crash knows
    what to undo.

    :param uuid: of the domain, and the ledger's consumer.
    :param keeps_claim: the claim was there before the boot began, and
        outlives a boot that fails.
    :param was_started: the guest was, or was about to be, started: its
        functions are not clean.
    :param is_stopped: libvirt itself said that the guest ended; it is not
        asked again, and would not answer while the guest starts anew.
    :param own: functions that the operator's document handed over itself.
    :param rebinds: what was, or is about to be, done to each function;
        their ``was`` is what a release gives back.
    :param cleaned: lowest primaries of units that were found clean after
        the guest.
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
