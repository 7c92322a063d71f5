"""Everything that one pass of the agent decides by, read beforehand.

Four sources are held against one another: the ledger, this host's journal,
libvirt, and the kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.formats.host_devices import HostFunctions
from gpu_passthrough_plugin.model.allocation import UnitListing
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import Unit, UnitKey


class RunningGuest(NamedTuple):
    """A guest that libvirt runs.

    :param name: as libvirt has it; a stranger may have chosen it.
    :param host_functions: what its live XML takes of the host's functions;
        None where the XML cannot be read.
    """

    uuid: str
    name: str
    host_functions: HostFunctions | None


class GoneInstance(NamedTuple):
    """An instance of this host whose guest is gone.

    :param evidence: what shows it, such as that libvirt has no such domain.
    """

    uuid: str
    evidence: str


class HostFault(NamedTuple):
    """What is wrong with a host, such as with its libvirt hook.

    :param remedy: what a person does about it.
    """

    detail: str
    remedy: str


@dataclasses.dataclass(frozen=True, slots=True)
class Observation:
    """A host at one instant, as far as it could be read.

    :param host: its name in the ledger.
    :param listing: what the ledger has of it.
    :param instances: its journal, by UUID.
    :param ended: guests of which the libvirt hook noted that they ended.
    :param guests: those that run; unknown where libvirt does not answer.
    :param gone: its instances whose guest is gone.
    :param units: what its assignable groups make now; unknown where it
        cannot be read.
    :param faults: what is wrong besides.
    :param marked: why it is cordoned as lost or fenced; empty where it is
        not.
    :param is_away: whether its agent is not among the agents.
    :param suspicions: why units are suspect that are not quarantined.
    :param due_checks: suspect units that the agent is to check now.
    """

    host: str
    listing: UnitListing
    instances: tuple[Instance, ...]
    ended: frozenset[str]
    guests: tuple[RunningGuest, ...] | Unknown
    gone: tuple[GoneInstance, ...]
    units: tuple[Unit, ...] | Unknown
    faults: tuple[HostFault, ...] = ()
    marked: str = ""
    is_away: bool = False
    suspicions: Mapping[UnitKey, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )
    due_checks: frozenset[UnitKey] = frozenset()

    @property
    def shown(self) -> Mapping[UnitKey, Unit] | None:
        """Return the units that the host shows; None where unknown."""
        if isinstance(self.units, Unknown):
            return None
        return {unit.key: unit for unit in self.units}
