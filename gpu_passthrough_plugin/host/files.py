"""How a host's files are read, and each replaced whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import logging
import os
import posixpath
import shutil
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import host_path
from gpu_passthrough_plugin.host.host_path import (
    local_path,
    opened_folder,
    real_path,
)
from gpu_passthrough_plugin.model.change_history import Attributes, FileState

_LOG = logging.getLogger(__name__)

# Opening a pipe or a device does not block.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE = 0o755
_CHUNK_BYTES = 1 << 20
# Source: rmdir(2).
_STAYS = frozenset(
    {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOENT, errno.ENOTDIR}
)


class Files:
    """Files of the running host, or of a tree laid out like a host's.

    Every path is absolute in the host's terms; no symbolic link leads out
    of the root.  Links of other users are refused, and folders opened one by
    one, so that nobody can put a link in the way meanwhile.

    :raises ReadFailed: from each method that reads, with the path.
    :raises Unavailable: from each method that writes, with the path.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def real(self, path: str) -> str:
        """Return a file's path with every symbolic link resolved."""
        return real_path(self.root, path)

    def entry(self, path: str) -> FileState | None:
        """Return a file's digest and attributes; None if it is missing.

        :raises ReadFailed: also when it is not a regular file.
        """
        with _translated("read", path), self._opened(path) as file:
            if file is None:
                return None
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return FileState(digest, read_attributes(file.fileno()))

    def read(self, path: str) -> bytes | None:
        """Return a file's contents; None if it is missing."""
        with _translated("read", path), self._opened(path) as file:
            return None if file is None else file.read()

    def sha1(self, path: str) -> str:
        """Return a file's SHA-1, as sha1sum has it; "" if it is missing."""
        with _translated("read", path), self._opened(path) as file:
            if file is None:
                return ""
            return hashlib.file_digest(
                file, lambda: hashlib.sha1(usedforsecurity=False)
            ).hexdigest()

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes; None if it is missing."""
        with _translated("read", path), self._opened(path) as file:
            return None if file is None else os.fstat(file.fileno()).st_size

    def put(self, path: str, contents: bytes, mode: int = 0o644) -> None:
        """Replace a file's contents; of a symbolic link, its target's.

        An existing file keeps its mode, owner and extended attributes.

        :param mode: of a file that does not exist yet.
        """

        def fill(file: BinaryIO, there: Attributes | None) -> None:
            file.write(contents)
            if there is None:
                os.fchmod(file.fileno(), mode)
            else:
                set_attributes(file.fileno(), there, with_time=False)

        self._replace(path, fill)

    def restore(self, path: str, source: str, original: FileState) -> None:
        """Restore a file's original contents and attributes.

        :param source: path of the contents, for this process.
        :raises Conflict: when the contents are not the original's.
        """

        def fill(file: BinaryIO, _: Attributes | None) -> None:
            digest = hashlib.sha256()
            with open(source, "rb") as backup:
                while chunk := backup.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != original.digest:
                raise errors.Conflict(
                    f"{source} does not hold what {path} was: its digest is"
                    f" {digest.hexdigest()}; {path} was left unchanged"
                )
            # A later write of buffered data would change the time again.
            file.flush()
            attributes = original.attributes
            set_attributes(file.fileno(), attributes, with_time=True)

        self._replace(path, fill)

    def dress(self, path: str, like: Attributes) -> None:
        """Set a file's attributes, but not its time, and sync it."""
        with _translated("write", path), self._folder(path) as (folder, name):
            handle = os.open(name, _READ, dir_fd=folder)
            try:
                set_attributes(handle, like, with_time=False)
                os.fsync(handle)
            finally:
                os.close(handle)

    def keep(self, path: str, at: str) -> None:
        """Make a file available at a second path as well, atomically.

        It is a hard link, or a copy where the file system has no links.
        """
        with (
            _translated("keep", path),
            self._folder(self.real(path)) as (source, name),
            self._folder(at) as (folder, kept),
        ):
            temporary = _temporary(kept)
            host_path.unlink(temporary, folder)
            try:
                os.link(
                    *(name, temporary),
                    src_dir_fd=source, dst_dir_fd=folder,
                    follow_symlinks=False,
                )  # fmt: skip
            except OSError:
                _copy(name, source, temporary, folder)
            if host_path.is_same(kept, temporary, folder):
                host_path.unlink(temporary, folder)
            else:
                host_path.rename(temporary, kept, folder)
            host_path.sync(folder)

    def move(self, path: str, to: str) -> None:
        """Rename a file within its folder, over a file that exists there."""
        target = self.real(to)
        _LOG.info("move %s to %s", path, to)
        with (
            _translated("replace", to),
            self._folder(target) as (folder, name),
        ):
            here = posixpath.basename(path)
            host_path.rename(here, name, folder)
            # The kernel keeps both names if they are one file's.
            # Source: rename(2).
            host_path.unlink(here, folder)
            host_path.sync(folder)

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""
        _LOG.info("remove %s", path)
        self._remove(self.real(path))

    def sweep(self, path: str) -> None:
        """Remove the temporary file that a killed process left."""
        folder, name = posixpath.split(self.real(path))
        self._remove(posixpath.join(folder, _temporary(name)))

    def _remove(self, real: str) -> None:
        with _translated("remove", real):
            try:
                with self._folder(real) as (folder, name):
                    if host_path.unlink(name, folder):
                        host_path.sync(folder)
            except (FileNotFoundError, NotADirectoryError):
                return

    def missing(self, path: str) -> tuple[str, ...]:
        """Return the missing folders above a file, outermost first."""
        folders: list[str] = []
        folder = posixpath.dirname(self.real(path))
        while folder != "/" and not os.path.isdir(self.disk(folder)):
            folders.append(folder)
            folder = posixpath.dirname(folder)
        return tuple(reversed(folders))

    def forget(self, folder: str) -> None:
        """Remove a folder if it exists and is empty.

        One that is not empty, or that a file system is mounted on, is used
        by others since.
        """
        with _translated("remove", folder):
            try:
                with self._folder(folder) as (above, name):
                    os.rmdir(name, dir_fd=above)
                    host_path.sync(above)
            except OSError as error:
                if error.errno not in _STAYS:
                    raise

    def free_bytes(self, path: str) -> tuple[int, int]:
        """Return a file system's device number and its free bytes.

        :param path: of a file on it, which need not exist.
        """
        with _translated("look at", path):
            absent = self.missing(path)
            there = absent[0] if absent else self.real(path)
            folder = self.disk(posixpath.dirname(there))
            usage = os.statvfs(folder)
            return os.stat(folder).st_dev, usage.f_bavail * usage.f_frsize

    def disk(self, real: str) -> str:
        """Return a resolved path of the host as this process sees it."""
        return local_path(self.root, real)

    @contextlib.contextmanager
    def _folder(self, real: str) -> Iterator[tuple[int, str]]:
        """Give the open folder of a resolved path, and the name in it."""
        with opened_folder(self.root, real) as folder:
            yield folder, posixpath.basename(real)

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[io.BufferedReader | None]:
        try:
            with self._folder(self.real(path)) as (folder, name):
                handle = os.open(name or ".", _READ, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise errors.ReadFailed(
                f"{path} is not a regular file; check what created it"
            )
        with open(handle, "rb") as file:
            yield file

    def _replace(
        self, path: str, fill: Callable[[BinaryIO, Attributes | None], None]
    ) -> None:
        real = self.real(path)
        _LOG.info("write %s", path)
        with _translated("write", path):
            there = self.entry(real)
            for missing in self.missing(real):
                self._make(missing)
            with self._folder(real) as (folder, name):
                temporary = _temporary(name)
                host_path.unlink(temporary, folder)
                try:
                    _write(temporary, folder, fill, there and there.attributes)
                    host_path.rename(temporary, name, folder)
                except (OSError, errors.Conflict):
                    host_path.unlink(temporary, folder)
                    raise
                host_path.sync(folder)

    def _make(self, real: str) -> None:
        """Create a folder, whatever the umask is."""
        with self._folder(real) as (above, name):
            os.mkdir(name, dir_fd=above)
            folder = os.open(name, _FOLDER, dir_fd=above)
            try:
                os.fchmod(folder, _FOLDER_MODE)
            finally:
                os.close(folder)
            host_path.sync(above)


def _write(
    name: str,
    folder: int,
    fill: Callable[[BinaryIO, Attributes | None], None],
    there: Attributes | None,
) -> None:
    with open(os.open(name, _NEW, 0o600, dir_fd=folder), "wb") as file:
        fill(file, there)
        file.flush()
        os.fsync(file.fileno())


def _copy(name: str, source: int, to: str, folder: int) -> None:
    """Copy a file with its attributes.

    :param source: its open folder; ``folder`` is that of the copy.
    """

    def fill(file: BinaryIO, _: Attributes | None) -> None:
        with open(os.open(name, _READ, dir_fd=source), "rb") as original:
            shutil.copyfileobj(original, file)
            file.flush()
            like = read_attributes(original.fileno())
            set_attributes(file.fileno(), like, with_time=True)

    _write(to, folder, fill, None)


def _temporary(name: str) -> str:
    """Return the name that a file is written to before it is renamed.

    The dot hides it from programs that read every file of a folder, as
    initramfs-tools does with its hooks.
    """
    return f".{name}.gpu-passthrough-new"


@contextlib.contextmanager
def _translated(act: str, path: str) -> Iterator[None]:
    """Raise the kernel's errors as the product's, with the path."""
    try:
        yield
    except OSError as error:
        kind = errors.ReadFailed if act == "read" else errors.Unavailable
        raise kind(f"cannot {act} {path}: {error.strerror}") from error


# The kernel computes these from the contents: never copied to another file.
# Source: kernel, Documentation/ABI/testing/evm and ima_policy.
_OF_CONTENTS = frozenset({"security.ima", "security.evm"})
_LABEL = "security.selinux"
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS})


def read_attributes(handle: int) -> Attributes:
    """Return the attributes of an open file."""
    status = os.fstat(handle)
    return Attributes(
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        tuple((n, os.getxattr(handle, n)) for n in _names(handle)),
    )


def set_attributes(
    handle: int, attributes: Attributes, *, with_time: bool
) -> None:
    """Give an open file these attributes, and remove all others.

    The owner is set first: changing it clears the set-user-id bits.
    """
    status = os.fstat(handle)
    if (status.st_uid, status.st_gid) != (attributes.uid, attributes.gid):
        os.fchown(handle, attributes.uid, attributes.gid)
    os.fchmod(handle, attributes.mode)
    names = {name for name, _ in attributes.xattrs}
    for name in _names(handle):
        # Attributes without a label: none was ever set, so leave the new one.
        if name not in names and name != _LABEL:
            os.removexattr(handle, name)
    for name, value in attributes.xattrs:
        os.setxattr(handle, name, value)
    if with_time:
        os.utime(handle, ns=(attributes.mtime_ns, attributes.mtime_ns))


def _names(handle: int) -> list[str]:
    try:
        return sorted(set(os.listxattr(handle)) - _OF_CONTENTS)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return []
        raise
