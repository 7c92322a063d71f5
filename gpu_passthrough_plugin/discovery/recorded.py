"""A host as a recording has it, read like a tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gpu_passthrough_plugin.discovery import paths
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why


class RecordedTree:
    """A tree in memory, of canonical paths (no links in their folders).

    :param files: contents by path.
    :param links: texts of symbolic links by path.
    :param folders: those that would not be known by what is in them.
    :param unreadable: what could not be read when this was recorded, by
        path, and the system's error.
    :param title: what an error message calls it.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        links: Mapping[str, str],
        folders: Iterable[str] = (),
        unreadable: Mapping[str, str] | None = None,
        title: str = "the recording",
    ) -> None:
        self.files = files
        self.links = links
        self.unreadable = unreadable or {}
        self.title = title
        self._folders: dict[str, set[str]] = {"": set()}
        for folder in folders:
            self._folders.setdefault(folder, set())
            self._enter(folder)
        for path in (*files, *links, *self.unreadable):
            self._enter(path)

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder, those above before those in them."""
        return tuple(sorted(self._folders))

    def __str__(self) -> str:
        return self.title

    def _enter(self, path: str) -> None:
        while path:
            folder, _, name = path.rpartition("/")
            known = folder in self._folders
            self._folders.setdefault(folder, set()).add(name)
            if known:
                return
            path = folder

    def read(self, path: str, limit: int | None = None) -> bytes | Unknown:
        where = self.real(path)
        if isinstance(where, Unknown):
            return where
        if where in self.unreadable:
            return Unknown(Why.UNREADABLE, self.unreadable[where])
        if where in self._folders:
            return Unknown(Why.UNREADABLE, "Is a directory")
        data = self.files.get(where)
        return MISSING if data is None else data[:limit]

    def link(self, path: str) -> str | Unknown | None:
        folder, _, name = path.rpartition("/")
        where = self.real(folder)
        if isinstance(where, Unknown):
            return where
        where = f"{where}/{name}" if where else name
        if where in self.unreadable:
            return Unknown(Why.UNREADABLE, self.unreadable[where])
        if where in self.files or where in self._folders:
            return Unknown(Why.MALFORMED, "not a symbolic link")
        return self.links.get(where)

    def names(self, path: str) -> tuple[str, ...] | Unknown:
        where = self.real(path)
        if isinstance(where, Unknown):
            return where
        if where in self.unreadable:
            return Unknown(Why.UNREADABLE, self.unreadable[where])
        if where in self._folders:
            return tuple(sorted(self._folders[where]))
        return MISSING

    def real(self, path: str) -> str | Unknown:
        return paths.resolved(path, self.links.get)

    def gather(
        self, folder: str, files: Sequence[str], links: Sequence[str] = ()
    ) -> tuple[list[bytes | Unknown], list[str | Unknown | None]]:
        return (
            [self.read(f"{folder}/{name}") for name in files],
            [self.link(f"{folder}/{name}") for name in links],
        )
