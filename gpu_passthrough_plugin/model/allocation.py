"""Where a request would fit, and who holds what."""

from __future__ import annotations

import dataclasses
import enum

from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord


@dataclasses.dataclass(frozen=True, slots=True)
class FreeUnit:
    """A unit that may be claimed, at the generation it was read."""

    unit: Unit
    generation: int


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """Units of one host that satisfy a request whole.

    :param units: by address.
    :param score: 0 is best; what it counts stands in
        ``allocation.choice``.
    """

    host: str
    units: tuple[FreeUnit, ...]
    score: int


@dataclasses.dataclass(frozen=True, slots=True)
class Allocation:
    """What one consumer holds: whole units of one host."""

    consumer: str
    host: str
    request: str
    units: tuple[UnitRecord, ...]

    @property
    def states(self) -> tuple[State, ...]:
        """The states its units are in, each once, in life's order."""
        present = {record.state for record in self.units}
        return tuple(state for state in State if state in present)


class Weight(enum.StrEnum):
    """Which of the hosts that have enough is taken first.

    ``pack``: the one with the fewest free, so that whole hosts stay free
    for those who ask for many; ``spread``: the one with the most.
    """

    PACK = "pack"
    SPREAD = "spread"


@dataclasses.dataclass(frozen=True, slots=True)
class HostRecord:
    """A host as the ledger has it.

    :param generation: of its inventory; changes with it.
    :param is_disabled: nothing of it is offered; what is held stays held.
    :param reason: why it is disabled; empty otherwise.
    """

    name: str
    generation: int
    is_disabled: bool
    reason: str
    aggregates: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class SyncReport:
    """What publishing a host's units changed in the ledger.

    :param missing: held or quarantined units that the host does not show
        any more as they were handed out.
    :param withheld: published units that share a function with a unit
        that is held or quarantined under another name; the ledger takes
        them once that one is free.
    :param generation: of the host's inventory; changes with it.
    """

    added: tuple[Unit, ...]
    changed: tuple[Unit, ...]
    removed: tuple[Unit, ...]
    missing: tuple[Unit, ...]
    generation: int
    withheld: tuple[Unit, ...] = ()
