"""Whether the hardware isolates what the kernel put into separate groups.

The kernel trusts a table of its own for ports without ACS, and an override
that is no part of it makes it trust any.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpu_passthrough_plugin.formats import iommu_arguments
from gpu_passthrough_plugin.formats.pci_config import Port, PortType
from gpu_passthrough_plugin.isolation import iommu
from gpu_passthrough_plugin.isolation.partition import Part
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.group import Reason
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import Unknown, known

_RULE = "unisolated"
_REMEDY = (
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
    if part.split_slot:
        return (
            f"{', '.join(map(str, part.split_slot))} share a slot with group"
            f" {part.number}, and no function of the slot has ACS, although"
            " the kernel took them for isolated: they may reach each other"
            " without the IOMMU"
        )
    return None


def reasons(part: Part, facts: HostFacts) -> Iterator[Reason]:
    """Yield why a group that the hardware may not isolate is refused."""
    text = doubt(part, facts)
    if text is not None:
        yield Reason(_RULE, text, _REMEDY)
    text = unread(part)
    if text is not None:
        yield Reason(_RULE, text, iommu.AS_ROOT)


def notes(part: Part, facts: HostFacts) -> Iterator[str]:
    """Yield what is known and unknown of a group's isolation, if anything."""
    for note in (doubt(part, facts), unread(part)):
        if note is not None:
            yield note


def unread(part: Part) -> str | None:
    """Return why it is unknown whether switches' ports isolate a group."""
    addresses = [
        address
        for address, port in part.ports
        if _is_unread(address, port, part)
    ]
    if not addresses:
        return None
    return (
        f"whether {', '.join(map(str, addresses))} above group {part.number}"
        " isolates it is unknown: its config space was not read, or not"
        " beyond 256 bytes"
    )


def _is_unread(address: Address, port: Port | Unknown, part: Part) -> bool:
    """Return whether it may be a switch's port whose ACS is unknown.

    A bridge with none above it is a root port, if it is one.
    """
    if isinstance(port, Unknown):
        paths = (m.detail.bridges for m in part.members if m.detail)
        return all(address not in path[:1] for path in paths)
    is_unknown = isinstance(port.isolates, Unknown)
    return is_unknown and port.kind == PortType.DOWNSTREAM


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
        and not isinstance(port, Unknown)
        and port.kind in kinds
        and port.isolates is False
    ]
