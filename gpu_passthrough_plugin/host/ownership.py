"""Who can change a path: owner and mode of each file and folder on its way."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from typing import NoReturn

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import chroot_path
from gpu_passthrough_plugin.model.hook import PathFact
from gpu_passthrough_plugin.model.reading import Unknown


def require_private(
    folder: str,
    option: str = "[DEFAULT] state_path",
    other: str = "set another state_path",
) -> None:
    """Raise if others than root and this user can change a folder.

    What they put there would be taken for this program's own.  A folder
    above may be writable by others if it is sticky, as /tmp is: they cannot
    rename what is not theirs.

    :param folder: absolute; it may be missing.
    :param option: what names it, and ``other`` what to do instead.
    :raises Invalid: with what is wrong, and how to mend it.
    """
    seen: dict[str, PathFact] = {}
    try:
        _walk_to(folder, seen)
    except OSError as error:
        raise _unreadable(error) from error
    own = os.path.realpath(folder)
    for fact in seen.values():
        fault = _fault(fact, is_own=fact.path == own)
        if fault:
            raise errors.Invalid(
                f"{option} {folder}: {fault}; expected a folder"
                f" that only root can change; {_remedy(fact, own, other)}"
            )


def _remedy(fact: PathFact, own: str, other: str) -> str:
    """Return what mends it: a folder above, or a link, may serve others."""
    if fact.path != own or stat.S_ISLNK(fact.mode):
        return other
    command = f"chmod go-w {own}"
    if fact.uid not in (0, os.geteuid()):
        command = f"chown root: {own}"
    return f"check what is in it, then run '{command}'"


def make_private(folder: str) -> None:
    """Create a folder and those above it, for their owner alone.

    Whatever the umask is.

    :raises OSError: when one cannot be created.
    """
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        # In a sticky folder, others may have been faster.
        fact = _path_fact(path)
        if not stat.S_ISDIR(fact.mode):
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), path
            )
        if _fault(fact, is_own=True):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)


def _fault(fact: PathFact, *, is_own: bool) -> str:
    """Return what is wrong with who can change a path; "" for nothing.

    :param is_own: whether it is the folder itself, not one above it.
    """
    if fact.uid not in (0, os.geteuid()):
        return f"{fact.path} belongs to user {fact.uid}"
    if stat.S_ISLNK(fact.mode):
        return ""
    is_sticky = bool(fact.mode & stat.S_ISVTX) and not is_own
    by_group = fact.mode & stat.S_IWGRP and (fact.gid or is_own)
    if (fact.mode & stat.S_IWOTH or by_group) and not is_sticky:
        return f"others can write to {fact.path} (mode {fact.mode & 0o7777:o})"
    return ""


def _unreadable(error: OSError) -> errors.ReadFailed:
    return errors.ReadFailed(
        f"cannot examine {error.filename}: {error.strerror}"
    )


def exists(path: str) -> bool:
    """Return whether there is a file, or something else, at a path."""
    return os.path.exists(path)


def path_facts(paths: Iterable[str], folder: str) -> tuple[PathFact, ...]:
    """Return owner and mode of some files and of every folder above them.

    Symbolic links are followed and returned as well.  For a missing file,
    only the folders above it are returned.

    :param paths: absolute.
    :param folder: absolute; everything below it is returned as well.
    :raises ReadFailed: when one of them cannot be examined.
    """
    seen: dict[str, PathFact] = {}
    try:
        for path in (*paths, folder):
            _walk_to(path, seen)
        for inner, folders, files in os.walk(folder, onerror=_raise):
            for name in (*folders, *files):
                _walk_to(f"{inner}/{name}", seen)
    except OSError as error:
        raise _unreadable(error) from error
    return tuple(seen.values())


def _raise(error: OSError) -> NoReturn:
    raise error


def _walk_to(path: str, seen: dict[str, PathFact]) -> None:
    """Add each existing file and folder on the way to a path."""

    def read_link(place: str) -> str | None:
        name = f"/{place}"
        if name not in seen:
            try:
                seen[name] = _path_fact(name)
            except FileNotFoundError:
                return None
        return os.readlink(name) if stat.S_ISLNK(seen[name].mode) else None

    if "/" not in seen:
        seen["/"] = _path_fact("/")
    if isinstance(chroot_path.resolve(path, read_link), Unknown):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _path_fact(path: str) -> PathFact:
    status = os.lstat(path)
    return PathFact(path, status.st_uid, status.st_gid, status.st_mode)
