"""How a function can be reset, and what its reset would hit."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.functions import DEVICES
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.reading import Unknown, decoded


def reset_methods(tree: Tree, function: Function) -> tuple[str, ...] | Unknown:
    """Return the resets that a function can do alone, in the kernel's order.

    :return: empty when disabled; ``MISSING`` when it cannot be reset alone, or
        the kernel is older than 5.15.
    """
    folder = f"{discovery.DEVICES}/{function.address}"
    data = tree.gather(folder, ("reset_method",))[0][0]
    return data if isinstance(data, Unknown) else tuple(decoded(data).split())


def has_reset(tree: Tree, address: Address) -> bool:
    """Return whether a function has a file ``reset``."""
    names = tree.names(f"{DEVICES}/{address}")
    return not isinstance(names, Unknown) and "reset" in names


def tells_methods(tree: Tree, functions: Iterable[Function]) -> bool:
    """Return whether this kernel has ``reset_method``: from 5.15 on."""
    return any(
        not isinstance(reset_methods(tree, function), Unknown)
        for function in functions
    )


def below_same_bridge(
    tree: Tree, function: Function, functions: Iterable[Function]
) -> tuple[Function, ...]:
    """Return the endpoints below the bridge that is nearest to a function.

    With itself; none where it is below no bridge that sysfs shows.
    """
    bridges = discovery.bridges(tree, function)
    if not bridges:
        return ()
    return tuple(
        other
        for other in functions
        if not other.is_bridge
        and bridges[-1] in discovery.bridges(tree, other)
    )
