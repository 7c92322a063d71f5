"""Folders that are made once, in one place, by one process at a time."""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UNFINISHED = ".building"
_KEPT_S = 3 * 24 * 3600


@contextmanager
def locked(shelf: Path) -> Iterator[None]:
    """Return a context which one process at a time is in.

    What it starts holds the lock as well: when it is killed, the next one
    waits for the last of them.
    """
    shelf.mkdir(parents=True, exist_ok=True)
    with (shelf / "lab.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)
        yield


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Return a folder that becomes ``target`` when all went well."""
    building = target.with_name(target.name + _UNFINISHED)
    building.mkdir()
    yield building
    building.rename(target)


def clear(shelf: Path) -> None:
    """Return once nothing is left of killed builds and of old folders.

    Old is what ``used`` was not told of for three days.
    """
    oldest = time.time() - _KEPT_S
    for folder in filter(Path.is_dir, shelf.iterdir()):
        unfinished = folder.name.endswith(_UNFINISHED)
        if unfinished or folder.stat().st_mtime < oldest:
            shutil.rmtree(folder)


def used(folder: Path) -> None:
    """Return once a folder counts as new."""
    os.utime(folder)


def digest(*parts: Path | bytes) -> str:
    """Return a short name for the contents of files, trees and bytes."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes):
            found.update(part)
            continue
        for path in sorted((part, *part.rglob("*"))):
            if path.is_file():
                found.update(f"\0{path.relative_to(part)}\0".encode())
                found.update(path.read_bytes())
    return found.hexdigest()[:16]
