"""Who can change a path: owner and mode of each file and folder on its way."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import NoReturn

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.hook import PathFact

# Source: Linux, include/linux/namei.h (MAXSYMLINKS).
_MAX_LINKS = 40


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
        raise errors.ReadFailed(
            f"cannot examine {error.filename}: {error.strerror}"
        ) from error
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
