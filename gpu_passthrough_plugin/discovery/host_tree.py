"""A host's files on disk, below a root folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import route_dump
from gpu_passthrough_plugin.formats import chroot_path, rtnetlink
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
# A kernel's modules.alias is about 1 MiB; nothing that is read is larger.
_MAX_BYTES = 16 << 20
_PAGE = 4096
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Files of a function whose readers wait for a reset, or for a driver that is
# being taken away.  Source: Linux, drivers/pci/access.c (pci_wait_cfg),
# drivers/pci/pci-sysfs.c (driver_override_show, which locks the device).
_BLOCKING = frozenset({"config", "driver_override", "rom", "vpd"})
# Opening a pipe in a copied tree must not block.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class HostTree:
    """The running host, or a copy of a host's files below ``root``.

    No link leads out of a root other than ``/``: if the kernel opened a
    folder outside of it, the path is resolved as text below the root
    instead.  The running host has the kernel's answer at
    ``rtnetlink.PATH`` as if it were a file.

    :param why_stuck: returns what keeps a function, by the name of its
        folder, from being read; "" for nothing.
    :raises ReadFailed: when ``root`` is not a folder.
    """

    def __init__(
        self, root: str = "/", why_stuck: Callable[[str], str] = lambda _: ""
    ) -> None:
        self._why_stuck = why_stuck
        self._root = os.path.realpath(root).rstrip("/") + "/"
        self._is_confined = self._root != "/"
        if not os.path.isdir(self._root):
            raise errors.ReadFailed(
                f"{root} is not a folder; expected the root of a host's files,"
                " with sys/bus/pci below it"
            )

    def __str__(self) -> str:
        return self._root.rstrip("/") or "/"

    def read(self, path: str, limit: int | None = None) -> bytes | Unknown:
        if path == rtnetlink.PATH and not self._is_confined:
            return route_dump.read()
        try:
            return self._read(path, limit)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", 0) != errno.ELOOP:
                return _unknown(error)
        where = self.real(path)
        if isinstance(where, Unknown):
            return where
        try:
            return self._read(where, limit)
        except (OSError, ValueError) as error:
            return _unknown(error)

    def link(self, path: str) -> str | Unknown | None:
        folder, _, name = path.rpartition("/")
        return self.gather(folder, (), (name,))[1][0]

    def names(self, path: str) -> tuple[str, ...] | Unknown:
        try:
            folder = self._folder(path, _LISTED)
            try:
                return tuple(sorted(os.listdir(folder)))
            finally:
                os.close(folder)
        except (OSError, ValueError) as error:
            return _unknown(error)

    def real(self, path: str) -> str | Unknown:
        return chroot_path.resolve(path, self._text)

    def gather(
        self, folder: str, files: Sequence[str], links: Sequence[str] = ()
    ) -> tuple[list[bytes | Unknown], list[str | Unknown | None]]:
        try:
            opened = self._folder(folder, _FOLDER)
        except (OSError, ValueError) as error:
            why = _unknown(error)
            nothing = None if why is MISSING else why
            return [why] * len(files), [nothing] * len(links)
        try:
            return (
                [
                    self._blocked(folder, name) or _attribute(opened, name)
                    for name in files
                ],
                [_link(opened, name) for name in links],
            )
        finally:
            os.close(opened)

    def _read(self, path: str, limit: int | None) -> bytes | Unknown:
        folder, _, name = path.rpartition("/")
        if blocked := self._blocked(folder, name):
            return blocked
        opened = self._folder(folder, _FOLDER)
        try:
            return _contents(opened, name, limit)
        finally:
            os.close(opened)

    def _blocked(self, folder: str, name: str) -> Unknown | None:
        """Return why a file must not be opened; None if it may be."""
        if name not in _BLOCKING:
            return None
        why = self._why_stuck(folder.rpartition("/")[2])
        return Unknown(Why.UNREADABLE, why) if why else None

    def _folder(self, path: str, flags: int) -> int:
        """Open a folder that lies below the root."""
        if not self._is_confined:
            return os.open(self._root + path, flags)
        opened = self._inside(path, flags)
        if opened is not None:
            return opened
        where = self.real(path)
        opened = None
        if isinstance(where, str):
            opened = self._inside(where, flags | os.O_NOFOLLOW)
        if opened is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return opened

    def _inside(self, path: str, flags: int) -> int | None:
        """Open the folder; None if it is not below the root.

        :raises OSError: when it cannot be opened, other than for absence.
        """
        try:
            opened = os.open(self._root + path, flags)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        try:
            where = os.readlink(f"/proc/self/fd/{opened}")
        except OSError:
            os.close(opened)
            raise
        if f"{where}/".startswith(self._root):
            return opened
        os.close(opened)
        return None

    def _text(self, path: str) -> str | None:
        try:
            return os.readlink(self._root + path)
        except (OSError, ValueError):
            return None


def _unknown(error: OSError | ValueError) -> Unknown:
    """Return why; Python raises ``ValueError`` for a name with a null."""
    if isinstance(error, ValueError) or error.errno in _ABSENT:
        return MISSING
    return Unknown(Why.UNREADABLE, error.strerror or str(error))


def _attribute(folder: int, name: str) -> bytes | Unknown:
    """Return a sysfs attribute, which is at most one page: one read."""
    try:
        opened = os.open(name, _FILE, dir_fd=folder)
        try:
            return os.read(opened, _PAGE)
        finally:
            os.close(opened)
    except OSError as error:
        return _unknown(error)


def _contents(folder: int, name: str, limit: int | None) -> bytes | Unknown:
    opened = os.open(name, _FILE, dir_fd=folder)
    try:
        data = os.read(opened, limit or _PAGE)
        while data and (limit is None or len(data) < limit):
            more = os.read(opened, limit - len(data) if limit else 1 << 18)
            if not more:
                break
            data += more
            if len(data) > _MAX_BYTES:
                return Unknown(Why.MALFORMED, f"over {_MAX_BYTES} bytes long")
        return data
    finally:
        os.close(opened)


def _link(folder: int, name: str) -> str | Unknown | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", 0) == errno.EINVAL:
            return Unknown(Why.MALFORMED, "not a symbolic link")
        why = _unknown(error)
        return None if why is MISSING else why
