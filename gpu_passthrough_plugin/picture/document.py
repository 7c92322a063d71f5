"""A host's picture in each of its formats."""

from __future__ import annotations

import json
from typing import Any

from gpu_passthrough_plugin.picture import page, svg
from gpu_passthrough_plugin.picture.host_picture import (
    BridgePicture,
    FunctionPicture,
    GroupPicture,
    HostPicture,
    NodePicture,
)

VERSION = 1
"""Of the JSON: grows when a field changes its meaning or is removed."""


def text(host: HostPicture, suffix: str) -> str:
    """Return the picture as a document.

    :param suffix: ``svg``, ``html`` or ``json``.
    """
    if suffix == "svg":
        return svg.svg(host)
    if suffix == "html":
        return page.page(host)
    return json.dumps(values(host), indent=2) + "\n"


def values(host: HostPicture) -> dict[str, Any]:
    """Return the picture as JSON's values: nodes, and items in items.

    Each item has a ``type``: ``bridge``, ``group`` or ``function``.
    """
    return {
        "version": VERSION,
        "title": host.title,
        "nodes": [
            {"title": node.title, "items": _items(node)} for node in host.nodes
        ],
        "notes": list(host.notes),
    }


def _items(
    container: NodePicture | BridgePicture | GroupPicture,
) -> list[dict[str, Any]]:
    return [_item(item) for item in container.items]


def _item(
    item: BridgePicture | GroupPicture | FunctionPicture,
) -> dict[str, Any]:
    if isinstance(item, FunctionPicture):
        return {"type": "function", **_function(item)}
    if isinstance(item, BridgePicture):
        return {
            "type": "bridge",
            **_function(item.function),
            "group": item.group,
            "items": _items(item),
        }
    return {
        "type": "group",
        "number": item.number,
        "more": list(item.more),
        "state": str(item.mark),
        "detail": item.detail,
        "items": _items(item),
    }


def _function(function: FunctionPicture) -> dict[str, Any]:
    return {
        "address": function.address,
        "name": function.name,
        "kind": function.kind,
        "is_primary": function.is_primary,
        "facts": list(function.facts),
        "folded": list(function.folded),
    }
