"""A described host's PCI functions as libvirt's node devices."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from gpu_passthrough_plugin.discovery.functions import functions
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.reading import known


def write(tree: Tree, folder: Path) -> None:
    """Put a file with XML into ``folder`` for each of them, by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for function in functions(tree):
        name = _name(function)
        (folder / f"{name}.xml").write_text(_xml(name, function))


def _name(function: Function) -> str:
    """Source: libvirt, node devices: the address with underscores."""
    return f"pci_{function.address}".translate(str.maketrans(":.", "__"))


def _xml(name: str, function: Function) -> str:
    """Source: https://libvirt.org/formatnode.html"""
    where = function.address
    driver = known(function.driver)
    bound = f"<driver><name>{escape(driver)}</name></driver>" if driver else ""
    node = known(function.numa_node)
    numa = "" if node is None else f"<numa node='{node}'/>"
    place = (
        f"domain='0x{where.domain:04x}' bus='0x{where.bus:02x}'"
        f" slot='0x{where.slot:02x}' function='0x{where.function:x}'"
    )
    group = known(function.iommu_group)
    isolated = (
        ""
        if group is None
        else f"<iommuGroup number='{group}'><address {place}/></iommuGroup>"
    )
    return f"""\
<device>
  <name>{name}</name>
  <path>/sys/bus/pci/devices/{where}</path>
  <parent>computer</parent>
  {bound}
  <capability type='pci'>
    <class>0x{known(function.class_code) or 0:06x}</class>
    <domain>{where.domain}</domain>
    <bus>{where.bus}</bus>
    <slot>{where.slot}</slot>
    <function>{where.function}</function>
    <product id='0x{known(function.product_id) or 0:04x}'/>
    <vendor id='0x{known(function.vendor_id) or 0:04x}'/>
    {isolated}
    {numa}
  </capability>
</device>
"""
