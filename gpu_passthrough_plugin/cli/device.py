"""``device``: the PCI functions of a host."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import fastpath
from gpu_passthrough_plugin.cli.command import (
    Command,
    Lister,
    Shower,
    add_dry_run,
    rows,
)
from gpu_passthrough_plugin.cli.fastpath import hexadecimal
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.discovery import function_health
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import (
    Bar,
    Detail,
    Function,
    PhysicalFunction,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.function_health import (
    NO_LINK,
    AerCounters,
    FunctionHealth,
    maximum_shown,
)
from gpu_passthrough_plugin.model.reading import Unknown

if TYPE_CHECKING:
    from gpu_passthrough_plugin.flow.runtime_binding import MovedFunction

MOVED = ("Address", "Was On", "Is On")


class DeviceList(Lister):
    """List the host's PCI functions."""

    reads_only = True

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        return fastpath.DEVICE, rows(*fastpath.devices(self.context))


class DeviceShow(Shower):
    """Show one PCI function in full."""

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "address", help="address of the function, such as 0000:06:00.0"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        requested = address.parse_typed(parsed_args.address)
        context = self.context
        for function in discovery.functions(context.tree):
            if function.address == requested:
                detail = discovery.detail(context.tree, function)
                name = context.names.function(function)
                health = function_health.health(
                    context.tree, requested, may_wake=True
                )
                return self.fields(
                    _fields(function, detail, name) | _health(health)
                )
        raise errors.Refused(
            f"no PCI function {requested}; see 'gpu-passthrough device list'"
        )


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        help="address of any function of the group, such as 0000:06:00.0",
    )


class _Moving(Lister):
    """A command that gives the functions of a group other drivers."""

    column_names = MOVED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_address(parser)
        add_dry_run(parser, "which functions would change their driver")
        return parser

    def answer(self, moved: Iterable[MovedFunction]) -> Any:
        """Return the rows of functions that were, or would be, moved."""
        return MOVED, rows(*((str(m[0]), *m[1:]) for m in moved))


class DeviceBind(_Moving):
    """Bind a whole group to vfio-pci until the next boot: all, or none.

    'host enable' has it bound at every boot.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import runtime_binding

        return self.answer(
            runtime_binding.bind(
                self.context.host_context,
                address.parse_typed(parsed_args.address),
                is_dry=parsed_args.dry_run,
            )
        )


class DeviceUnbind(_Moving):
    """Give a whole group back to the host's drivers until the next boot.

    'host disable' has it left to them at every boot.
    """

    empty = "no function of the group is on a VFIO driver"

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import runtime_binding

        return self.answer(
            runtime_binding.unbind(
                self.context.host_context,
                address.parse_typed(parsed_args.address),
                is_dry=parsed_args.dry_run,
            )
        )


class DeviceReset(Command):
    """Reset a whole group that is on vfio-pci and that nothing uses.

    A free unit that is not clean afterwards is quarantined.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_address(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import runtime_binding

        context = self.context.host_context
        place = address.parse_typed(parsed_args.address)
        runtime_binding.reset(context, place)
        say(f"the group of {place} was reset, and responds as before")


def _fields(
    function: Function, detail: Detail, name: str
) -> dict[str, object]:
    return {
        "Address": str(function.address),
        "Class": fastpath.class_of(function),
        "Class Code": hexadecimal(function.class_code, 6),
        "Vendor ID": hexadecimal(function.vendor_id, 4),
        "Product ID": hexadecimal(function.product_id, 4),
        "Subsystem Vendor ID": hexadecimal(function.subsystem_vendor_id, 4),
        "Subsystem Product ID": hexadecimal(function.subsystem_product_id, 4),
        "Revision": hexadecimal(detail.revision, 2),
        "Name": name,
        "Header": detail.header,
        "Driver": function.driver,
        "Driver Override": detail.driver_override,
        "Modules": detail.modules,
        "IOMMU Group": function.iommu_group,
        "NUMA Node": function.numa_node,
        "Reset Methods": detail.reset_methods,
        "Boot VGA": detail.boot_vga,
        "BAR Bytes": _bar_bytes(detail.bars),
        "SR-IOV": _sriov(detail.sriov),
        "Bridges": detail.bridges,
    }


def _health(health: FunctionHealth) -> dict[str, object]:
    link = health.link
    return {
        "Link": None if link == NO_LINK else str(link),
        "Link Maximum": None
        if link == NO_LINK
        else maximum_shown(health.reachable),
        "Power State": health.power_state,
        "Runtime Status": health.runtime_status,
        "Correctable Errors": _errors(health.correctable),
        "Nonfatal Errors": _errors(health.nonfatal),
        "Fatal Errors": _errors(health.fatal),
    }


def _errors(counters: AerCounters | Unknown | None) -> object:
    """Return the total, and each kind that was counted."""
    if counters is None or isinstance(counters, Unknown):
        return counters
    kinds = [f"{kind} {n}" for kind, n in counters.by_kind.items() if n]
    return (str(counters.total), *kinds)


def _bar_bytes(bars: tuple[Bar, ...] | Unknown) -> object:
    if isinstance(bars, Unknown):
        return bars
    return tuple(bar.size_bytes for bar in bars)


def _sriov(
    role: PhysicalFunction | VirtualFunction | Unknown | None,
) -> object:
    if isinstance(role, PhysicalFunction):
        return (
            f"physical function, {role.enabled_vfs} of {role.total_vfs}"
            " virtual functions enabled"
        )
    if isinstance(role, VirtualFunction):
        return f"virtual function of {role.physical}"
    return role
