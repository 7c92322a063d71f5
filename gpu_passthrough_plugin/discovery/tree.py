"""The files that discovery reads: a host's below a root, or a recording's.

``host_tree`` and ``recorded_tree`` have one each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gpu_passthrough_plugin.model.reading import Unknown, decoded


class Tree(Protocol):
    """A host's files, by paths relative to its root, without a leading ``/``.

    ``str()`` is its name in messages.  No method raises: what cannot be read
    is ``Unknown``.
    """

    def __hash__(self) -> int:
        """Hash by identity: values read once are cached by their tree."""

    def read(self, path: str, limit: int | None = None) -> bytes | Unknown:
        """Return a file's contents, or their first ``limit`` bytes."""

    def link(self, path: str) -> str | Unknown | None:
        """Return a symbolic link's target; None if nothing exists there."""

    def names(self, path: str) -> tuple[str, ...] | Unknown:
        """Return the names in a folder, sorted."""

    def real(self, path: str) -> str | Unknown:
        """Return the path without symbolic links; it need not exist."""

    def gather(
        self, folder: str, files: Sequence[str], links: Sequence[str] = ()
    ) -> tuple[list[bytes | Unknown], list[str | Unknown | None]]:
        """Return several small files and links of one folder, in order.

        Each as ``read`` and ``link`` return it; the folder is opened once.
        """


def text(tree: Tree, path: str) -> str | Unknown:
    """Return a text file's contents without the newline at its end."""
    data = tree.read(path)
    return data if isinstance(data, Unknown) else decoded(data)
