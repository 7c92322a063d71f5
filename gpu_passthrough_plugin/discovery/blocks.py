"""Block devices by number and by name."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import paths
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.model.reading import Unknown, Why

NUMBERS = "sys/dev/block"
BLOCKS = "sys/class/block"


def numbered(tree: Tree, number: str) -> str | Unknown:
    """The device's path; empty for one that was unplugged while mounted."""
    link = tree.link(f"{NUMBERS}/{number}")
    if isinstance(link, Unknown):
        return link
    if link is None:
        known = tree.names(NUMBERS)
        return known if isinstance(known, Unknown) else ""
    return tree.real(f"{NUMBERS}/{number}")


def named(tree: Tree, name: str) -> str | Unknown:
    """The path of ``/dev/sda2`` or ``/dev/mapper/root``."""
    short = paths.name(name)
    if name.startswith("/dev/mapper/"):
        short = _mapped(tree, short) or short
    if tree.link(f"{BLOCKS}/{short}") is None:
        return Unknown(Why.MISSING, f"{BLOCKS}/{short}")
    return tree.real(f"{BLOCKS}/{short}")


def _mapped(tree: Tree, name: str) -> str:
    """``dm-N`` of a mapped device, or nothing."""
    blocks = tree.names(BLOCKS)
    for block in () if isinstance(blocks, Unknown) else blocks:
        if not block.startswith("dm-"):
            continue
        if text(tree, f"{BLOCKS}/{block}/dm/name") == name:
            return block
    return ""
