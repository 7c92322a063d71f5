"""What the listings of functions and groups have in their columns."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.reading import Unknown

Row = tuple[object, ...]

DEVICE = (
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
GROUP = (
    "Group",
    "Primary",
    "Functions",
    "NUMA Node",
    "Assignable",
    "Reasons",
)


def hexadecimal(value: int | Unknown, digits: int) -> str | Unknown:
    """An id as the kernel prints it."""
    return value if isinstance(value, Unknown) else f"{value:0{digits}x}"


def class_of(function: Function) -> str | Unknown:
    """Base class and subclass, such as ``0300``."""
    code = function.class_code
    return code if isinstance(code, Unknown) else f"{code >> 8:04x}"


def devices(context: Context) -> Iterator[Row]:
    """A row for every function of the host, by address."""
    for function in discovery.functions(context.tree):
        yield (
            str(function.address),
            class_of(function),
            hexadecimal(function.vendor_id, 4),
            hexadecimal(function.product_id, 4),
            context.names.function(function),
            function.driver,
            function.iommu_group,
            function.numa_node,
            discovery.reset_methods(context.tree, function),
        )


def of_groups(context: Context, *, assignable_only: bool) -> Iterator[Row]:
    """A row for every group of the host, by number."""
    scope = Scope.PRIMARIES if assignable_only else Scope.LISTING
    snapshot = host_snapshot.read(context.tree, context.policy, scope)
    for group in snapshot.groups():
        if group.verdict.is_assignable or not assignable_only:
            yield of_group(group)


def of_group(group: Group) -> Row:
    """The row of one group."""
    first = (group.primaries or group.members)[0].function
    return (
        group.number,
        tuple(str(m.address) for m in group.primaries),
        tuple(str(m.address) for m in group.members),
        first.numa_node,
        group.verdict.is_assignable,
        tuple(reason.text for reason in group.verdict.reasons),
    )
