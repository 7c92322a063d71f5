"""What is allocated: one assignable IOMMU group of one host."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from typing import NamedTuple

from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.address import Address


class DeviceType(enum.StrEnum):
    """Nova's device types.  Source: nova, objects/fields.py."""

    PCI = "type-PCI"
    PF = "type-PF"
    VF = "type-VF"


class State(enum.StrEnum):
    """Where a unit is in its life.

    free → claimed → preparing → active → releasing → sanitising → free,
    or → quarantined, which an operator ends.  For a guest that others start
    the unit goes from claimed to active, because libvirt prepares it.  What a
    host had that was powered off is quarantined from any state.
    """

    FREE = "free"
    CLAIMED = "claimed"
    PREPARING = "preparing"
    ACTIVE = "active"
    RELEASING = "releasing"
    SANITISING = "sanitising"
    QUARANTINED = "quarantined"

    @property
    def is_held(self) -> bool:
        """Whether a consumer holds a unit in this state."""
        return self not in (State.FREE, State.QUARANTINED)


# Every edge a unit may take.  ``preparing`` falls back through
# ``releasing``, because its functions were touched already.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.FREE: frozenset({State.CLAIMED, State.QUARANTINED}),
    State.CLAIMED: frozenset({State.PREPARING, State.ACTIVE, State.FREE}),
    State.PREPARING: frozenset(
        {State.ACTIVE, State.RELEASING, State.QUARANTINED}
    ),
    State.ACTIVE: frozenset({State.RELEASING, State.QUARANTINED}),
    State.RELEASING: frozenset({State.SANITISING, State.QUARANTINED}),
    # Back to ``claimed``: a boot failed, and the claim was there before.
    State.SANITISING: frozenset(
        {State.FREE, State.QUARANTINED, State.CLAIMED}
    ),
    # To itself: for another reason.
    State.QUARANTINED: frozenset({State.FREE, State.QUARANTINED}),
}


_SUSPECT = "suspect: "
_CHECK_FAILED = "; check failed: "
CHECK_PASSED = "check passed"
"""What the reason begins with of the event that frees a unit so."""


def suspect_reason(evidence: Iterable[str]) -> str:
    """Return the reason of a quarantine of a unit that is clean, but suspect.

    A suspect unit is a quarantined one whose reason begins so: it has no
    state of its own.
    """
    return f"{_SUSPECT}{'; '.join(evidence)}"


def is_suspect_reason(reason: str) -> bool:
    """Return whether a quarantine has it because a unit is suspect."""
    return reason.startswith(_SUSPECT)


def failed_check_reason(reason: str, failure: str) -> str:
    """Return the reason of a suspect unit whose check failed.

    :param reason: that it has; empty where it was free.
    """
    first = reason.partition(_CHECK_FAILED)[0] or suspect_reason(("checked",))
    return f"{first}{_CHECK_FAILED}{failure}"


def is_failed_check(reason: str) -> bool:
    """Return whether a check failed that was to lift a quarantine."""
    return _CHECK_FAILED in reason


class UnitKey(NamedTuple):
    """The stable name of a unit: its host and lowest primary address."""

    host: str
    address: Address

    def __str__(self) -> str:
        return f"{self.host}/{self.address}"


@dataclasses.dataclass(frozen=True, slots=True)
class UnitFunction:
    """An endpoint of a unit, as other hosts see it in the ledger."""

    address: Address
    vendor_id: int
    product_id: int
    class_code: int
    device_type: DeviceType
    is_primary: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """What a host publishes of an assignable group.

    :param functions: every endpoint, by address.
    :param numa_node: of the lowest primary; None when it has none.
    :param socket: CPU socket of that node; None when not known.
    :param switch: upstream port of the nearest PCIe switch above it that
        other units share, else of the nearest; None below no switch.
    :param traits: names of Placement's traits.
    """

    key: UnitKey
    iommu_group: int
    functions: tuple[UnitFunction, ...]
    numa_node: int | None
    socket: int | None
    switch: Address | None
    traits: frozenset[str] = frozenset()

    @property
    def primaries(self) -> tuple[UnitFunction, ...]:
        return tuple(f for f in self.functions if f.is_primary)

    @property
    def resource_class(self) -> str:
        """``CUSTOM_PCI_VVVV_PPPP`` of its lowest primary, as Nova names it."""
        first = self.primaries[0]
        return resource_class.of_ids(first.vendor_id, first.product_id)


@dataclasses.dataclass(frozen=True, slots=True)
class UnitRecord:
    """A unit as the ledger has it.

    :param consumer: UUID of the instance that holds it, or None.
    :param generation: changes with each transition; a writer that has an
        older one lost.
    :param is_missing: its host no longer shows it, and a consumer holds
        it.
    :param reason: why it is quarantined; empty otherwise.
    """

    unit: Unit
    state: State
    consumer: str | None
    generation: int
    is_missing: bool
    reason: str

    @property
    def is_claimable(self) -> bool:
        """Whether it is free and its host still publishes it.

        A cordon of its host does not count here.
        """
        return self.state is State.FREE and not self.is_missing

    @property
    def is_suspect(self) -> bool:
        """Whether it is quarantined because its health is in doubt."""
        is_quarantined = self.state is State.QUARANTINED
        return is_quarantined and is_suspect_reason(self.reason)

    def moved(
        self, state: State, generation: int, reason: str = ""
    ) -> UnitRecord:
        """Return the record after a move to a state.

        :param generation: of the unit after the move.
        :param reason: why it is quarantined; ignored for other states.
        """
        return dataclasses.replace(
            self,
            state=state,
            consumer=self.consumer if state.is_held else None,
            generation=generation,
            reason=reason if state is State.QUARANTINED else "",
        )
