"""Candidates for a request, and what consumers hold in the ledger."""

from __future__ import annotations

import dataclasses
import enum

from gpu_passthrough_plugin.model.event import Transition
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord


@dataclasses.dataclass(frozen=True, slots=True)
class FreeUnit:
    """A unit that may be claimed, at the generation at which it was read."""

    unit: Unit
    generation: int


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """Units of one host that satisfy a whole request.

    :param units: by address.
    :param score: 0 is best; ``allocation.choice`` says what it counts.
    """

    host: str
    units: tuple[FreeUnit, ...]
    score: int


@dataclasses.dataclass(frozen=True, slots=True)
class Allocation:
    """The units that one consumer holds, all of one host.

    :param request: the text of its request, such as ``gpu:1``.
    """

    consumer: str
    host: str
    request: str
    units: tuple[UnitRecord, ...]

    @property
    def states(self) -> tuple[State, ...]:
        """The states that its units are in, each once, in order of life."""
        present = {record.state for record in self.units}
        return tuple(state for state in State if state in present)


class Weight(enum.StrEnum):
    """Which of the hosts that fit is chosen first.

    ``pack``: the one with the fewest free units, so that whole hosts stay
    free for large requests; ``spread``: the one with the most.
    """

    PACK = "pack"
    SPREAD = "spread"


DISABLED_BY_NOVA = (
    "its compute service is disabled; run 'openstack compute service set"
    " --enable'"
)
"""The reason of a host that no operator cordoned here."""


@dataclasses.dataclass(frozen=True, slots=True)
class HostRecord:
    """A host as the ledger has it.

    :param generation: of its inventory; grows with each change of it.
    :param is_cordoned: whether its units are offered to no new claim;
        existing ones stay.
    :param reason: why it is cordoned; empty otherwise.
    :param is_malformed: whether its record cannot be read; ``reason`` says
        then what is wrong, and the hook starts no guest there.
    :param is_watched: whether an agent ran there: a host whose agent does
        not answer any more is lost.
    """

    name: str
    generation: int
    is_cordoned: bool
    reason: str
    aggregates: frozenset[str]
    is_malformed: bool = False
    is_watched: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class MalformedUnit:
    """A unit whose record in the ledger cannot be read.

    It is shown to operators, and offered to no consumer.

    :param name: of the unit in the ledger, such as a row's number.
    :param address: of the unit as the ledger has it; it may be no address.
    :param problem: what is wrong, such as "address 'zz' is not valid".
    :param consumer: that the unit is allocated to, as the ledger has it.
    """

    host: str
    name: str
    address: str
    problem: str
    consumer: str | None = None

    def __str__(self) -> str:
        return f"host {self.host}, unit {self.name}: {self.problem}"

    @property
    def remedy(self) -> str:
        """Return what an operator does about it."""
        if self.consumer is None:
            return f"run 'gpu-passthrough inventory sync' on {self.host}"
        return (
            f"consumer {self.consumer} holds it: correct the record in the"
            " database"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class UnitListing:
    """The units of hosts: those that can be read, and those that cannot.

    :param records: by host and address.
    :param malformed: by host and name.
    """

    records: tuple[UnitRecord, ...]
    malformed: tuple[MalformedUnit, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class SyncReport:
    """What publishing a host's units changed in the ledger.

    :param missing: held or quarantined units that the host no longer
        publishes as they were handed out.
    :param withheld: published units that share a function with a unit
        that is held or quarantined under another name; the ledger takes
        them once that unit is free.
    :param generation: of the host's inventory; grows with each change.
    :param transitions: what that was for each unit's events; None if the
        driver does not say.
    """

    added: tuple[Unit, ...]
    changed: tuple[Unit, ...]
    removed: tuple[Unit, ...]
    missing: tuple[Unit, ...]
    generation: int
    withheld: tuple[Unit, ...] = ()
    transitions: tuple[Transition, ...] | None = dataclasses.field(
        default=None, compare=False
    )
