"""What an assignable group is in the ledger: a unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable

from gpu_passthrough_plugin.isolation.partition import Part
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import (
    PhysicalFunction,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.group import Group, Member, Role
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.trait import ConfiguredTraits
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
    UnitKey,
)


def unit(
    host: str,
    group: Group,
    facts: HostFacts,
    given: Iterable[ConfiguredTraits] = (),
    shared_switches: Container[Address] = (),
) -> Unit:
    """Return the unit that an assignable group makes.

    :param given: the traits that the operator adds to some units.
    :param shared_switches: what ``shared_switches`` returned for the host.
    """
    first = group.primaries[0]
    numa_node = known(first.function.numa_node)
    sockets = known(facts.sockets) or {}
    return Unit(
        key=UnitKey(host, first.address),
        iommu_group=group.number or 0,
        functions=tuple(_unit_function(m) for m in group.endpoints),
        numa_node=numa_node,
        socket=None if numa_node is None else sockets.get(numa_node),
        switch=_switch(first, shared_switches),
        traits=_traits(group, given),
    )


def _traits(group: Group, given: Iterable[ConfiguredTraits]) -> frozenset[str]:
    functions = (m.function for m in group.endpoints)
    configured = trait.of_unit(functions, given)
    if group.verdict.is_isolated:
        return configured
    return configured | {trait.UNISOLATED}


def _unit_function(member: Member) -> UnitFunction:
    function = member.function
    return UnitFunction(
        address=member.address,
        vendor_id=known(function.vendor_id) or 0,
        product_id=known(function.product_id) or 0,
        class_code=known(function.class_code) or 0,
        device_type=_device_type(member),
        is_primary=member.role is Role.PRIMARY,
    )


def _device_type(member: Member) -> DeviceType:
    """Return Nova's type: a function that can do SR-IOV is a type-PF."""
    role = member.detail.sriov if member.detail else None
    if isinstance(role, VirtualFunction):
        return DeviceType.VF
    if isinstance(role, PhysicalFunction) and role.total_vfs:
        return DeviceType.PF
    return DeviceType.PCI


def shared_switches(parts: Iterable[Part]) -> frozenset[Address]:
    """Return the upstream ports that cards of two groups or more are below.

    :param parts: those of the host; one without a primary does not count.
    """
    below: Counter[Address] = Counter()
    for part in parts:
        below.update(
            {
                port
                for member in part.members
                if member.role is Role.PRIMARY
                for port in _upstream_ports(member)
            }
        )
    return frozenset(port for port, count in below.items() if count > 1)


def _switch(
    member: Member, shared_switches: Container[Address]
) -> Address | None:
    """Return the nearest switch that other cards share, else the nearest.

    Cards such as AMD's and Intel's have a switch of their own, below the
    one that they share.
    """
    ports = _upstream_ports(member)[::-1]
    shared = (port for port in ports if port in shared_switches)
    return next(shared, ports[0] if ports else None)


def _upstream_ports(member: Member) -> tuple[Address, ...]:
    """Return the upstream ports of the switches above it, the nearest last.

    Below the root port each switch is two bridges: its upstream port, and
    the downstream port that leads on.  A bridge without one below it is not
    a switch's.  Source: PCI Express Base Specification 6.0, 1.3.3; Linux,
    drivers/pci/probe.c (pci_scan_bridge_extend).
    """
    bridges = member.detail.bridges if member.detail else ()
    # Those of another domain lead to an Intel VMD.
    hierarchy = tuple(b for b in bridges if b.domain == bridges[-1].domain)
    return hierarchy[1:-1:2]
