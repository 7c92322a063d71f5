"""Paths of the running host, or of a tree that is laid out like one."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import chroot_path
from gpu_passthrough_plugin.model.reading import Unknown

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def opened_folder(root: str, path: str) -> Iterator[int]:
    """Give a descriptor of the folder that a resolved path is in.

    No symbolic link is followed: one that somebody put there since the path
    was resolved is an error.

    :param path: as ``real_path`` returned it.
    :raises OSError: when the folder is missing, or a link.
    """
    first, *rest = path.split("/")[1:-1] or ["."]
    folder = os.open(os.path.join(root, first), _FOLDER)
    try:
        for name in rest:
            inner = _opened(name, folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _opened(name: str, above: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except NotADirectoryError:
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            raise
        # Not absent, as below a file: somebody put it there meanwhile.
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None


def rename(name: str, to: str, folder: int) -> None:
    """Rename a file of an open folder, over another that exists there."""
    os.replace(name, to, src_dir_fd=folder, dst_dir_fd=folder)


def is_same(name: str, other: str, folder: int) -> bool:
    """Return whether two names of an open folder are one file's."""
    try:
        first, second = (
            os.stat(n, dir_fd=folder, follow_symlinks=False)
            for n in (name, other)
        )
    except FileNotFoundError:
        return False
    return os.path.samestat(first, second)


def unlink(name: str, folder: int) -> bool:
    """Remove a file of an open folder; return whether it existed."""
    try:
        # On a read-only file system, unlink fails even for a missing file.
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def sync(folder: int) -> None:
    """Write an open folder's names to the disk."""
    # What O_PATH opened cannot be synced itself.
    handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: str) -> None:
    """Write the names of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def real_path(root: str, path: str) -> str:
    """Return the path behind every symbolic link, in the host's terms.

    No link leads out of ``root``.  The file need not exist.

    :raises Invalid: when the path is not absolute.
    :raises Refused: when a link is neither root's nor this user's: whoever
        made it would decide which file is meant.
    :raises Unavailable: when its links form a circle.
    """
    if not path.startswith("/"):
        raise errors.Invalid(
            f"{path!r} is not an absolute path; expected one that starts"
            " with /"
        )
    resolved = chroot_path.resolve(
        path, lambda link: _read_link(local_path(root, f"/{link}"))
    )
    if isinstance(resolved, Unknown):
        raise errors.Unavailable(
            f"{path} cannot be opened ({resolved.detail}); 'namei {path}'"
            " shows where its symbolic links lead"
        )
    return f"/{resolved}"


def local_path(root: str, path: str) -> str:
    """Return a resolved path of the host as this process sees it."""
    return posixpath.join(root, path.lstrip("/")) if root != "/" else path


def _read_link(path: str) -> str | None:
    try:
        handle = os.open(path, _LINK)
    except OSError:
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISLNK(status.st_mode):
            return None
        target = os.readlink("", dir_fd=handle)
    finally:
        os.close(handle)
    if status.st_uid not in (0, os.geteuid()):
        raise errors.Refused(
            f"{path} is a symbolic link of user {status.st_uid} to {target};"
            " expected one of root's, or none; remove it"
        )
    return target
