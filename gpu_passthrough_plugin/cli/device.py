"""``device``: PCI functions as this host shows them."""

from __future__ import annotations

import argparse
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.command import Lister, Shower, rows
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import (
    Detail,
    Function,
    Physical,
    Virtual,
)
from gpu_passthrough_plugin.model.reading import Unknown

COLUMNS = (
    "Address",
    "Class",
    "Vendor ID",
    "Product ID",
    "Name",
    "Driver",
    "IOMMU Group",
    "NUMA Node",
    "Reset Methods",
)


def _hex(value: int | Unknown, digits: int) -> str | Unknown:
    return value if isinstance(value, Unknown) else f"{value:0{digits}x}"


def _class(function: Function) -> str | Unknown:
    code = function.class_code
    return code if isinstance(code, Unknown) else f"{code >> 8:04x}"


class DeviceList(Lister):
    """List the host's PCI functions."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        found = discovery.functions(context.tree)
        names = context.names
        return COLUMNS, rows(
            *(
                (
                    str(f.address),
                    _class(f),
                    _hex(f.vendor_id, 4),
                    _hex(f.product_id, 4),
                    names.function(f),
                    f.driver,
                    f.iommu_group,
                    f.numa_node,
                    discovery.reset_methods(context.tree, f),
                )
                for f in found
            )
        )


class DeviceShow(Shower):
    """Show everything that is known of one PCI function."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("address", help="such as 0000:06:00.0")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        wanted = address.parse(parsed_args.address)
        context = self.context
        for function in discovery.functions(context.tree):
            if function.address == wanted:
                detail = discovery.detail(context.tree, function)
                name = context.names.function(function)
                return self.fields(_all(function, detail, name))
        raise errors.Refused(
            f"no PCI function {wanted}; see 'gpu-passthrough device list'"
        )


def _all(function: Function, detail: Detail, name: str) -> dict[str, object]:
    return {
        "Address": str(function.address),
        "Class": _hex(function.class_code, 6),
        "Vendor ID": _hex(function.vendor_id, 4),
        "Product ID": _hex(function.product_id, 4),
        "Subsystem Vendor ID": _hex(function.subsystem_vendor_id, 4),
        "Subsystem Product ID": _hex(function.subsystem_product_id, 4),
        "Revision": _hex(detail.revision, 2),
        "Name": name,
        "Header": detail.header,
        "Driver": function.driver,
        "Driver Override": detail.driver_override,
        "Modules": detail.modules,
        "IOMMU Group": function.iommu_group,
        "NUMA Node": function.numa_node,
        "Reset Methods": detail.reset_methods,
        "Boot VGA": detail.boot_vga,
        "BAR Bytes": detail.bar_bytes,
        "SR-IOV": _sriov(detail.sriov),
        "Bridges": detail.bridges,
    }


def _sriov(role: Physical | Virtual | Unknown | None) -> object:
    if isinstance(role, Physical):
        return (
            f"physical function, {role.enabled_vfs} of {role.total_vfs}"
            " virtual functions enabled"
        )
    if isinstance(role, Virtual):
        return f"virtual function of {role.physical}"
    return role
