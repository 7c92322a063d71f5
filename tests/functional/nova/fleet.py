# mypy: disable-error-code="import-not-found"
"""Described hosts, as libvirt on them would show them to nova-compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from gpu_passthrough_plugin.model.address import Address, parse
from gpu_passthrough_plugin.model.unit import DeviceType, Unit, UnitFunction
from gpu_passthrough_plugin.nova.compute import ComputeHost
from nova.tests.fixtures import libvirt
from tests.trees import hosts
from tests.unit.nova.fleet import cards, handed

_KINDS: Mapping[DeviceType, str] = {
    DeviceType.PCI: "PCI",
    DeviceType.PF: "PF",
    DeviceType.VF: "VF",
}

# Enabled ones, of the physical function; a GPU's are not.
_VFS = {DeviceType.PCI: None, DeviceType.PF: 0, DeviceType.VF: 2}


def three_cards(name: str) -> ComputeHost:
    """Graphics and audio each; one on the first node, two on the other."""
    return handed(hosts.HOSTS["seed"](), name)


def wide(name: str) -> ComputeHost:
    """Eight cards of four functions: four a node, two below a switch."""
    host = handed(cards(8), name)
    units = [
        placed(unit, node=number // 4, switch=f"0000:{number // 2:02x}:1f.0")
        for number, unit in enumerate(host.units)
    ]
    return dataclasses.replace(host, units=tuple(units))


def of_nodes(name: str, *nodes: int) -> ComputeHost:
    """Cards of four functions, one on each of the nodes that are named."""
    host = handed(cards(len(nodes)), name)
    units = [
        placed(unit, node=node)
        for unit, node in zip(host.units, nodes, strict=True)
    ]
    return dataclasses.replace(host, units=tuple(units))


def shared_group(name: str) -> ComputeHost:
    """Two cards in one group, and one in its own."""
    return handed(hosts.shared_group(), name)


def sriov(name: str) -> ComputeHost:
    """A GPU that can do SR-IOV, and two virtual functions of a NIC."""
    return handed(hosts.virtual_functions(), name, "class=03", "15b3:1018")


def placed(unit: Unit, node: int, switch: str | None = None) -> Unit:
    """The unit on a NUMA node, and below a switch."""
    above = None if switch is None else parse(switch)
    return dataclasses.replace(unit, numa_node=node, switch=above)


def devices(host: ComputeHost) -> libvirt.HostPCIDevicesInfo:
    """What libvirt lists of the host: every function of each unit."""
    found = libvirt.HostPCIDevicesInfo(num_pfs=0, num_vfs=0)
    for unit in host.units:
        for function in unit.functions:
            if function.device_type is DeviceType.VF:
                _add_physical(found, unit, function)
            _add(found, unit, function)
    return found


def _add(
    found: libvirt.HostPCIDevicesInfo, unit: Unit, function: UnitFunction
) -> None:
    kind = function.device_type
    address = function.address
    found.add_device(
        dev_type=_KINDS[kind],
        bus=address.bus,
        slot=address.slot,
        function=address.function,
        iommu_group=unit.iommu_group,
        # libvirt leaves it out where the kernel says -1.
        numa_node=-1 if unit.numa_node is None else unit.numa_node,
        vf_ratio=_VFS[kind],
        parent=_parent(address) if kind is DeviceType.VF else None,
        vend_id=f"{function.vendor_id:04x}",
        vend_name="Vendor",
        prod_id=f"{function.product_id:04x}",
        prod_name="Product",
        driver_name="vfio-pci",
    )


def _parent(address: Address) -> tuple[int, int, int]:
    return address.bus, address.slot, 0


def _add_physical(
    found: libvirt.HostPCIDevicesInfo, unit: Unit, function: UnitFunction
) -> None:
    """The physical function of a virtual one, which is never listed."""
    bus, slot, _ = _parent(function.address)
    if f"pci_0000_{bus:02x}_{slot:02x}_0" in found.devices:
        return
    found.add_device(
        dev_type="PF",
        bus=bus,
        slot=slot,
        function=0,
        iommu_group=unit.iommu_group,
        numa_node=-1,
        vf_ratio=_VFS[DeviceType.VF],
        vend_id=f"{function.vendor_id:04x}",
        prod_id=f"{function.product_id - 1:04x}",
    )
