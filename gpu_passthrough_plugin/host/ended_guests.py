"""Guests that ended, noted on this host until their units are released.

The libvirt hook writes an entry before it asks the ledger, which may not
answer: the entry outlives the hook, the ledger's outage and a crash.  Guests
that have an entry do not run: the hook lets none start before its entry is
removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.host_path import sync_folder
from gpu_passthrough_plugin.host.local_lock import try_lock
from gpu_passthrough_plugin.host.ownership import make_private
from gpu_passthrough_plugin.model.instance import parse_uuid

MAX_ENTRIES = 1024
"""More guests than one host can have that end while no ledger answers."""

_MAX_BYTES = 4096
_MALFORMED = (ValueError, RecursionError, errors.Invalid)
# What opening a link or a socket fails with.
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO})
_SUSPECTED = "is_suspected"
# Hidden files are no entries.
_FINISHING = ".finishing"
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class EndedGuest(NamedTuple):
    """A guest that ended.

    :param version: another one for each time that the entry was written.
    :param is_suspected: whether libvirt is still to be asked if it ended.
    """

    uuid: str
    version: tuple[int, int]
    is_suspected: bool = False


class EndedGuests:
    """A folder with a file for each guest that ended, named by its UUID.

    :param folder: made for root alone when the first entry is written.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def write(self, uuid: str, *, is_suspected: bool = False) -> EndedGuest:
        """Note that a guest ended; the entry is on the disk on return.

        :param is_suspected: whether libvirt is still to be asked; an entry
            that is certain is kept then.
        :raises Unavailable: when it cannot be written, or too many are kept.
        """
        name = parse_uuid(uuid)
        with self._translated("write to", is_needed=True):
            self._make_folder()
            with self._open(fcntl.LOCK_EX) as folder:
                names = set(os.listdir(folder))
                if name not in names and len(names) >= MAX_ENTRIES:
                    raise errors.Unavailable(
                        f"{self._folder} has {len(names)} entries of guests"
                        " that ended, and takes no more; run 'gpu-passthrough"
                        " inventory sync', and see what it says"
                    )
                if is_suspected and (certain := _certain(folder, name)):
                    # Its hook noted the end meanwhile.
                    return certain
                version = _written(folder, name, is_suspected=is_suspected)
                return EndedGuest(name, version, is_suspected)

    def read(self, uuid: str) -> EndedGuest | None:
        """Return a guest's entry, if it has a valid one.

        :raises Unavailable: when that is unknown.
        """
        guests, _ = self._entries([parse_uuid(uuid)])
        return guests[0] if guests else None

    def entries(self) -> tuple[tuple[EndedGuest, ...], tuple[str, ...]]:
        """Return each guest that has an entry, and a line for each bad entry.

        :raises Unavailable: when the folder cannot be read.
        """
        return self._entries(None)

    def remove(self, guest: EndedGuest) -> None:
        """Remove an entry, unless the guest ended another time since.

        :raises Unavailable: when it cannot be removed.
        """
        with (
            self._translated("remove an entry of"),
            self._open(fcntl.LOCK_EX) as folder,
        ):
            if _version(folder, guest.uuid) == guest.version:
                os.unlink(guest.uuid, dir_fd=folder)
                os.fsync(folder)

    @contextlib.contextmanager
    def finishing(self) -> Iterator[bool]:
        """Give whether no other process is inside; if so, be the one.

        :raises Unavailable: when that is unknown.
        """
        with self._translated("lock", is_needed=True):
            self._make_folder()
            with self._open(fcntl.LOCK_SH) as folder:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                handle = os.open(_FINISHING, flags, 0o600, dir_fd=folder)
        try:
            yield try_lock(handle)
        finally:
            os.close(handle)

    def _entries(
        self, names: list[str] | None
    ) -> tuple[tuple[EndedGuest, ...], tuple[str, ...]]:
        guests = []
        faults = []
        with (
            self._translated("read"),
            self._open(fcntl.LOCK_SH) as folder,
        ):
            for name in sorted(os.listdir(folder)) if names is None else names:
                try:
                    guest = _read(folder, name)
                except _MALFORMED as error:
                    faults.append(
                        f"{self._folder}/{name} is not an entry of a guest"
                        f" that ended ({error}); see 'gpu-passthrough unit"
                        " list' and remove it"
                    )
                    continue
                if guest is not None:
                    guests.append(guest)
        return tuple(guests), tuple(faults)

    def _make_folder(self) -> None:
        above = os.path.dirname(self._folder)
        make_private(above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder, mode=0o700)
            sync_folder(above)

    @contextlib.contextmanager
    def _open(self, lock: int) -> Iterator[int]:
        """Give the folder's descriptor, locked.

        :raises Unavailable: when others than this user can change it.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(self._folder, flags)
        try:
            status = os.fstat(folder)
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
                raise errors.Unavailable(
                    f"{self._folder} belongs to user {status.st_uid} and has"
                    f" mode {stat.S_IMODE(status.st_mode):o}; expected a"
                    f" folder of user {os.geteuid()} that others cannot"
                    " write to; check what is in it, then set its owner and"
                    " mode 0700"
                )
            fcntl.flock(folder, lock)
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _translated(
        self, act: str, *, is_needed: bool = False
    ) -> Iterator[None]:
        """Translate errors.

        :param is_needed: whether a missing folder is an error; otherwise it
            has no entry.
        """
        try:
            yield
        except OSError as error:
            if is_needed or not isinstance(error, FileNotFoundError):
                raise errors.Unavailable(
                    f"cannot {act} {self._folder}, where guests that ended"
                    f" are noted: {error.strerror}"
                ) from error


def _written(folder: int, name: str, *, is_suspected: bool) -> tuple[int, int]:
    """Write an entry whole, and return its version."""
    temporary = f".{name}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    handle = os.open(temporary, flags | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with open(handle, "w", encoding="ascii") as file:
        json.dump({"uuid": name, _SUSPECTED: is_suspected}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
    version = _version(folder, name)
    if version is None:
        raise FileNotFoundError(name)
    return version


def _certain(folder: int, name: str) -> EndedGuest | None:
    """Return a guest's entry if it has a valid one that is no suspicion."""
    try:
        guest = _read(folder, name)
    except _MALFORMED:
        return None
    return guest if guest and not guest.is_suspected else None


def _version(folder: int, name: str) -> tuple[int, int] | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read(folder: int, name: str) -> EndedGuest | None:
    """Return an entry; None for one that is gone, or was never whole.

    :raises ValueError: when it is malformed.
    """
    if name.startswith("."):
        return None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise ValueError("it is not a regular file") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
            raise ValueError("others can write to it")
        document = json.loads(os.read(handle, _MAX_BYTES))
    finally:
        os.close(handle)
    is_suspected = isinstance(document, dict) and document.get(_SUSPECTED)
    expected = {"uuid": name, _SUSPECTED: bool(is_suspected)}
    # As an earlier release wrote it: the hook saw that end.
    is_valid = document in (expected, {"uuid": name})
    if not is_valid or name != parse_uuid(name):
        raise ValueError("it does not hold the UUID that it is named by")
    version = (status.st_ino, status.st_mtime_ns)
    return EndedGuest(name, version, bool(is_suspected))
