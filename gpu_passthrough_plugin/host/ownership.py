"""Who can change a path: owner and mode of each file and folder on its way."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from typing import NoReturn

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.hook import PathFact

# Source: Linux, include/linux/namei.h (MAXSYMLINKS).
_MAX_LINKS = 40


def require_private(folder: str) -> None:
    """Raise if others than root and this user can change a folder.

    What they put there would be taken for this program's own.  A folder
    above may be writable by others if it is sticky, as /tmp is: they cannot
    rename what is not theirs.

    :param folder: absolute; it may be missing.
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
                f"[DEFAULT] state_path {folder}: {fault}; expected a folder"
                " that only root can change; check what is in it, then run"
                f" 'chown root: {fact.path}' and 'chmod go-w {fact.path}', or"
                " set another state_path"
            )


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
    links = 0
    todo = path.split("/")[::-1]
    here = ""
    while todo:
        name = todo.pop()
        if name == "..":
            here = here.rpartition("/")[0]
        elif name not in ("", "."):
            here = f"{here}/{name}"
        try:
            fact = seen.get(here or "/") or _path_fact(here or "/")
        except FileNotFoundError:
            return
        seen[fact.path] = fact
        if not stat.S_ISLNK(fact.mode):
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(fact.path)
        here = "" if target.startswith("/") else here.rpartition("/")[0]
        todo.extend(target.split("/")[::-1])


def _path_fact(path: str) -> PathFact:
    status = os.lstat(path)
    return PathFact(path, status.st_uid, status.st_gid, status.st_mode)
