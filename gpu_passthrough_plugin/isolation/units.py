"""What an assignable group is in the ledger: a unit."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Physical, Virtual
from gpu_passthrough_plugin.model.group import Group, Member, Role
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.trait import Given
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
    UnitKey,
)


def unit(
    host: str, group: Group, facts: HostFacts, given: Iterable[Given] = ()
) -> Unit:
    """Return the unit that an assignable group makes.

    :param given: the traits that the operator adds to some units.
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
        switch=_switch(first),
        traits=trait.of((m.function for m in group.endpoints), given),
    )


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
    if isinstance(role, Virtual):
        return DeviceType.VF
    if isinstance(role, Physical) and role.total_vfs:
        return DeviceType.PF
    return DeviceType.PCI


def _switch(member: Member) -> Address | None:
    bridges = member.detail.bridges if member.detail else ()
    return bridges[0] if bridges else None
