"""The one selection of a host: read it from the host's own files."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.isolation import selection
from gpu_passthrough_plugin.isolation.selection import HostSelection
from gpu_passthrough_plugin.model.selector import Selector


def read(
    tree: Tree,
    configured: tuple[Selector, ...],
    place: str = "",
    *,
    is_configured: bool,
) -> HostSelection:
    """Return the host's selection, read now.

    :param configured: ``[discovery] select``, or its default.
    :param place: what errors begin with, where the host is not this one.
    :param is_configured: whether a configuration file sets that option.
    :raises Faults: when the host's selection file is malformed.
    :raises ReadFailed: when that file cannot be read.
    """
    return selection.chosen(
        tree.read(selection.PATH[1:], selection.MAX_BYTES + 1),
        f"{place}{selection.PATH}",
        configured,
        is_configured=is_configured,
    )
