"""One change to a host as data: what it was, what it becomes."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.model.address import Address


@dataclasses.dataclass(frozen=True, slots=True)
class Binding:
    """Which driver a function has and which one it is held to.

    :param driver: None for no driver.
    :param override: sysfs ``driver_override``; None for none.
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
        """The change that takes it back."""
        return Rebind(self.address, self.becomes, self.was)

    @property
    def is_needed(self) -> bool:
        return self.was != self.becomes
