"""PCI devices that Nova reports to Placement for one use at a time.

Nova reserves such a device when an instance gets it, and never gives it back:
whatever cleans the device does.  Source: nova,
compute/pci_placement_translator.py; PCI passthrough guide, "one_time_use".
"""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple, Protocol

from gpu_passthrough_plugin.model.address import Address

ONE_TIME_USE = "HW_PCI_ONE_TIME_USE"
"""The trait of a provider whose device is for one use.  Source: os-traits."""


class Amounts(NamedTuple):
    """An inventory of a provider.

    :param total: how many there are, also of those that are reserved.
    """

    resource_class: str
    total: int
    reserved: int


@dataclasses.dataclass(frozen=True, slots=True)
class PciProvider:
    """A provider that Nova made for a PCI device of a host.

    :param name: the host's, ``_`` and the address, such as
        ``compute1_0000:81:00.0``.
    :param generation: of the provider, when it was read.
    :param consumers: UUIDs of those that have an allocation of it.
    """

    uuid: str
    name: str
    address: Address
    generation: int
    is_one_time: bool
    inventories: tuple[Amounts, ...]
    consumers: tuple[str, ...]

    @property
    def is_reserved(self) -> bool:
        """Whether Placement gives none of it to anybody."""
        return bool(self.inventories) and all(
            amounts.reserved >= amounts.total > 0
            for amounts in self.inventories
        )

    @property
    def waits(self) -> bool:
        """Whether it was used, is nobody's now, and was not given back."""
        return self.is_one_time and self.is_reserved and not self.consumers


class PciProviders(Protocol):
    """Placement's providers of PCI devices.

    Each method raises :class:`~gpu_passthrough_plugin.errors.Unavailable`
    when Placement does not answer.
    """

    def read(self, host: str) -> tuple[PciProvider, ...]:
        """Return those of a host, by address.

        :param host: Nova's name of its hypervisor, which is that of the
            root provider.
        :raises Refused: when Placement has no such host.
        """

    def recent(self, host: str) -> tuple[PciProvider, ...]:
        """Return them as ``read`` did; read again what changed since.

        For whoever asks again and again: one query where nothing changed,
        and none is repeated.  That an allocation was deleted may be noticed
        minutes later.
        """

    def unreserve(self, provider: PciProvider) -> None:
        """Reserve none of a provider any more, if it is as it was read.

        :raises Conflict: when it changed since.
        """

    def close(self) -> None:
        """Close the connections."""


class RecycleResult(enum.StrEnum):
    """What became of a device that waited to be given back."""

    DONE = "done"
    PLANNED = "planned"
    LEFT = "left"


class Recycled(NamedTuple):
    """A device that waited, and what became of it.

    :param detail: why it is left reserved, or what was done.
    :param is_unclean: whether it was reset, and is not clean.
    """

    provider: PciProvider
    result: RecycleResult
    detail: str
    is_unclean: bool = False
