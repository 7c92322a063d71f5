"""A tree that remembers what was read of it."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_passthrough_plugin.discovery import paths
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.reading import Unknown, Why


class WatchedTree:
    """Reads another tree, and keeps what that gave by canonical path.

    :ivar files: contents; the longest part where only a part was read.
    :ivar links: texts of every link on the way to anything.
    :ivar folders: those that were listed, and what is in them.
    :ivar unreadable: the system's errors.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.folders: set[str] = set()
        self.unreadable: dict[str, str] = {}

    def __str__(self) -> str:
        return str(self.tree)

    def read(self, path: str, limit: int | None = None) -> bytes | Unknown:
        where = self.real(path)
        if isinstance(where, Unknown):
            return where
        data = self.tree.read(where, limit)
        if isinstance(data, Unknown):
            self._note(where, data)
        elif len(data) >= len(self.files.get(where, b"")):
            self.files[where] = data
        return data

    def link(self, path: str) -> str | Unknown | None:
        folder, _, name = path.rpartition("/")
        where = self.real(folder)
        if isinstance(where, Unknown):
            return where
        where = f"{where}/{name}" if where else name
        link = self.tree.link(where)
        if isinstance(link, Unknown):
            self._note(where, link)
        elif link is not None:
            self.links[where] = link
        return link

    def names(self, path: str) -> tuple[str, ...] | Unknown:
        where = self.real(path)
        if isinstance(where, Unknown):
            return where
        names = self.tree.names(where)
        if isinstance(names, Unknown):
            self._note(where, names)
            return names
        self.folders.add(where)
        is_device = isinstance(self.tree.link(f"{where}/subsystem"), str)
        for name in names:
            child = f"{where}/{name}" if where else name
            # Of a device's own folder, only its links are looked for.
            if self._text(child) is None and not is_device:
                self.folders.add(child)
        return names

    def real(self, path: str) -> str | Unknown:
        # Links such as /proc/self mean nothing on another host.
        is_proc = path.startswith("proc/")
        return path if is_proc else paths.resolved(path, self._text)

    def gather(
        self, folder: str, files: Sequence[str], links: Sequence[str] = ()
    ) -> tuple[list[bytes | Unknown], list[str | Unknown | None]]:
        return (
            [self.read(f"{folder}/{name}") for name in files],
            [self.link(f"{folder}/{name}") for name in links],
        )

    def _text(self, path: str) -> str | None:
        link = self.tree.link(path)
        if not isinstance(link, str):
            return None
        self.links[path] = link
        return link

    def _note(self, path: str, unknown: Unknown) -> None:
        if unknown.why is Why.UNREADABLE:
            self.unreadable[path] = unknown.detail
