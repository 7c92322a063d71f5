"""What discovery reads: a host's files below a root, or a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gpu_passthrough_plugin.discovery.host_tree import HostTree as HostTree
from gpu_passthrough_plugin.discovery.recorded_tree import (
    RecordedTree as RecordedTree,
)
from gpu_passthrough_plugin.model.reading import Unknown, decoded


class Tree(Protocol):
    """A host's files; paths are relative to its root and have no ``/`` first.

    ``str()`` names it in messages.  Nothing here raises: what cannot be
    read is ``Unknown``, missing or unreadable.
    """

    def __hash__(self) -> int:
        """By identity: what is read once is kept by the tree it is of."""

    def read(self, path: str, limit: int | None = None) -> bytes | Unknown:
        """A file's contents; only the first ``limit`` bytes of them."""

    def link(self, path: str) -> str | Unknown | None:
        """A symbolic link's text; None when nothing is there."""

    def names(self, path: str) -> tuple[str, ...] | Unknown:
        """What a folder holds, sorted."""

    def real(self, path: str) -> str | Unknown:
        """The path without links, below the same root; need not exist."""

    def gather(
        self, folder: str, files: Sequence[str], links: Sequence[str] = ()
    ) -> tuple[list[bytes | Unknown], list[str | Unknown | None]]:
        """Several small files and links of one folder, in that order.

        Each as ``read`` and ``link`` have it, for the price of finding the
        folder once.
        """


def text(tree: Tree, path: str) -> str | Unknown:
    """A text file's contents without the newline at its end."""
    data = tree.read(path)
    return data if isinstance(data, Unknown) else decoded(data)
