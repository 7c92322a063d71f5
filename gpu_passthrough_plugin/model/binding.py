"""Which driver a function is bound to, and a change of that as data."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.model.address import Address


@dataclasses.dataclass(frozen=True, slots=True)
class Binding:
    """The driver of a function, and the only one that may bind it.

    :param driver: None for no driver.
    :param override: sysfs ``driver_override``; None where any driver may
        bind it.
    """

    driver: str | None
    override: str | None


VFIO = Binding("vfio-pci", "vfio-pci")


@dataclasses.dataclass(frozen=True, slots=True)
class Rebind:
    """Take one function from one binding to another."""

    address: Address
    was: Binding
    becomes: Binding

    def undo(self) -> Rebind:
        """Return the change that takes it back."""
        return Rebind(self.address, self.becomes, self.was)

    @property
    def is_needed(self) -> bool:
        return self.was != self.becomes
