"""Whether the hardware isolates what the kernel put into separate groups.

The kernel trusts a table of its own for ports without ACS, and an override
that is no part of it makes it trust any.
"""

from __future__ import annotations

from gpu_passthrough_plugin.formats import iommu_arguments
from gpu_passthrough_plugin.formats.pci_config import PortType
from gpu_passthrough_plugin.isolation.partition import Part
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import Unknown, known

RULE = "unisolated"
REMEDY = (
    "move the card to a slot behind a port with ACS, and boot without"
    " pcie_acs_override and pci=disable_acs_redir"
)


def doubt(part: Part, facts: HostFacts) -> str | None:
    """Return why a group may be smaller than what the hardware isolates."""
    override = iommu_arguments.acs_override(
        known(facts.kernel_arguments) or ()
    )
    ports = _open_ports(part, is_overridden=override is not None)
    names = ", ".join(map(str, ports))
    if override is not None:
        behind = f", and {names} has no ACS in force" if ports else ""
        return (
            f"the kernel was started with {override}{behind}: functions of"
            f" group {part.number} and of other groups may reach each other"
            " without the IOMMU"
        )
    if ports:
        return (
            f"{names} above group {part.number} has no ACS in force, although"
            " the kernel took it for isolated: functions below it may reach"
            " each other without the IOMMU"
        )
    return None


def unread_ports(part: Part) -> list[Address]:
    """Return the switches' ports above the group of which ACS is unknown."""
    return [
        address
        for address, port in part.ports
        if port.kind == PortType.DOWNSTREAM
        and isinstance(port.isolates, Unknown)
    ]


def _open_ports(part: Part, *, is_overridden: bool) -> list[Address]:
    """Return the ports above the group that do not isolate it.

    A root port without ACS may be in the kernel's table of those that
    isolate all the same; a switch's port is not.  Source: Linux,
    drivers/pci/quirks.c (pci_dev_acs_enabled).
    """
    kinds = {PortType.DOWNSTREAM}
    if is_overridden:
        kinds.add(PortType.ROOT)
    members = {member.address for member in part.members}
    return [
        address
        for address, port in part.ports
        if address not in members
        and port.kind in kinds
        and not isinstance(port.isolates, Unknown)
        and not port.isolates
    ]
