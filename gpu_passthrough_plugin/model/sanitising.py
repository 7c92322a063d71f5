"""Wiping what a guest left on a unit: the contract of its drivers."""

from __future__ import annotations

import abc
from typing import ClassVar, NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.instance import NamedInstance


class SanitiseSettings(NamedTuple):
    """What a driver is configured with.

    :param command: ``[release] sanitise_command``, split into words; empty
        where it is not set.
    :param timeout_s: ``[release] sanitise_timeout_s``.
    """

    command: tuple[str, ...] = ()
    timeout_s: float = 300.0


class SanitiseTarget(NamedTuple):
    """A unit that a guest had, on a VFIO driver and freshly reset.

    :param host: this host's name in the ledger.
    :param addresses: of its functions, the lowest primary first.
    :param iommu_group: its number in this boot of the host.
    :param vendor_id: of the lowest primary, like ``product_id``.
    :param consumer: who had it; with an empty UUID where that is unknown.
    :param previous_consumer: the UUID of who had it before; "" where that
        is unknown.
    """

    host: str
    addresses: tuple[Address, ...]
    iommu_group: int
    vendor_id: int
    product_id: int
    consumer: NamedInstance
    previous_consumer: str


class SanitiseDriver(abc.ABC):
    """Wipes a unit between two resets.

    Found by its entry point in ``gpu_passthrough_plugin.sanitise``.  Whatever
    it raises quarantines the unit.

    :cvar runs_in_child: whether ``sanitise`` is called in a child process,
        which is killed after ``timeout_s``, has no open file of its
        parent's, and ends with all that it started; only a driver that is
        bounded in time itself sets it to false.
    """

    runs_in_child: ClassVar[bool] = True

    @abc.abstractmethod
    def __init__(self, settings: SanitiseSettings) -> None:
        """Configure the driver; open and start nothing.

        :raises Invalid: when the settings are wrong.
        """

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """What the event of a unit says that it was sanitised by."""

    @abc.abstractmethod
    def sanitise(self, target: SanitiseTarget) -> None:
        """Wipe the unit; return once nothing of its guest can be read.

        Its functions are on the drivers afterwards that they were on.

        :raises Error: when it is not wiped, or that is unknown.
        """
