"""A host's files, each replaced whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import posixpath
import shutil
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import chroot_path
from gpu_passthrough_plugin.model.change_history import Attributes, FileState

# No pipe and no device makes anybody wait.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE = 0o755


class Files:
    """Files of the running host, or of a tree laid out like one's.

    Every path is absolute in the host's terms.  Below a root no link leads
    out of it.  Whatever fails is one line with the path in it.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def real(self, path: str) -> str:
        """The path that a file really has, behind every link."""
        return chroot_path.real(self.root, path)

    def entry(self, path: str) -> FileState | None:
        """What is there; None for no file.

        :raises ReadFailed: when it is no regular file, or not readable.
        """
        with _told("read", path), self._opened(path) as file:
            if file is None:
                return None
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return FileState(digest, read_attributes(file.fileno()))

    def read(self, path: str) -> bytes | None:
        """Its contents; None for no file."""
        with _told("read", path), self._opened(path) as file:
            return None if file is None else file.read()

    def sha1(self, path: str) -> str:
        """Another digest, which others' bookkeeping has."""
        with _told("read", path), self._opened(path) as file:
            if file is None:
                return ""
            return hashlib.file_digest(
                file, lambda: hashlib.sha1(usedforsecurity=False)
            ).hexdigest()

    def size(self, path: str) -> int | None:
        """In bytes; None for no file."""
        with _told("read", path), self._opened(path) as file:
            return None if file is None else os.fstat(file.fileno()).st_size

    def put(self, path: str, contents: bytes, mode: int = 0o644) -> None:
        """Give the file these contents; through a link, the one behind it.

        One that is there keeps its mode, owner and extended attributes.

        :param mode: of one that is not.
        """

        def fill(file: BinaryIO, there: Attributes | None) -> None:
            file.write(contents)
            if there is None:
                os.fchmod(file.fileno(), mode)
            else:
                set_attributes(file.fileno(), there, with_time=False)

        self._replace(path, fill)

    def restore(self, path: str, source: str, wanted: Attributes) -> None:
        """Make the file what it was.

        :param source: where its contents are, on this machine.
        """

        def fill(file: BinaryIO, _: Attributes | None) -> None:
            with open(source, "rb") as kept:
                shutil.copyfileobj(kept, file)
            # What is still buffered would change the time again.
            file.flush()
            set_attributes(file.fileno(), wanted, with_time=True)

        self._replace(path, fill)

    def dress(self, path: str, like: Attributes) -> None:
        """Give a file another's attributes but its time, and sync it."""
        with _told("write", path):
            handle = os.open(self.disk(path), _READ)
            try:
                set_attributes(handle, like, with_time=False)
                os.fsync(handle)
            finally:
                os.close(handle)

    def keep(self, path: str, at: str) -> None:
        """Have the file under a second path as well; whole or not at all.

        A hard link, or a copy where the file system has none.
        """
        with _told("keep", path):
            here, there = self.disk(self.real(path)), self.disk(at)
            temporary = self.disk(_beside(at))
            _unlink(temporary)
            try:
                os.link(here, temporary)
            except OSError:
                _copy(here, temporary)
            if os.path.lexists(there) and os.path.samefile(there, temporary):
                _unlink(temporary)
            else:
                os.replace(temporary, there)
            _sync_folder(there)

    def move(self, path: str, to: str) -> None:
        """Give a file another path in the same folder, over what is there."""
        with _told("replace", to):
            here, there = self.disk(path), self.disk(self.real(to))
            os.replace(here, there)
            # Two names of one file: the kernel leaves both as they are.
            # Source: rename(2).
            _unlink(here)
            _sync_folder(there)

    def remove(self, path: str) -> None:
        """Take the file away, if it is there."""
        with _told("remove", path):
            where = self.disk(self.real(path))
            if _unlink(where):
                _sync_folder(where)

    def sweep(self, path: str) -> None:
        """Take away what a killed process left beside the file."""
        with _told("remove", path):
            _unlink(self.disk(_beside(self.real(path))))

    def missing(self, path: str) -> tuple[str, ...]:
        """Folders that there would have to be for the file, outermost
        first."""
        found: list[str] = []
        folder = posixpath.dirname(self.real(path))
        while folder != "/" and not os.path.isdir(self.disk(folder)):
            found.append(folder)
            folder = posixpath.dirname(folder)
        return tuple(reversed(found))

    def forget(self, folder: str) -> None:
        """Take the folder away, if it is there and has nothing in it."""
        with contextlib.suppress(OSError):
            os.rmdir(self.disk(folder))
            _sync_folder(self.disk(folder))

    def free_bytes(self, path: str) -> tuple[int, int]:
        """The file system of a file that is there or not, and its room.

        :returns: its device number, and what is free on it.
        """
        with _told("look at", path):
            absent = self.missing(path)
            there = absent[0] if absent else self.real(path)
            folder = self.disk(posixpath.dirname(there))
            found = os.statvfs(folder)
            return os.stat(folder).st_dev, found.f_bavail * found.f_frsize

    def disk(self, real: str) -> str:
        """Where a real path is for this process."""
        return chroot_path.local(self.root, real)

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[io.BufferedReader | None]:
        try:
            handle = os.open(self.disk(self.real(path)), _READ)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise errors.ReadFailed(
                f"{path} is no regular file; wanted one: see what made it"
            )
        with open(handle, "rb") as file:
            yield file

    def _replace(
        self, path: str, fill: Callable[[BinaryIO, Attributes | None], None]
    ) -> None:
        real = self.real(path)
        where, temporary = self.disk(real), self.disk(_beside(real))
        with _told("write", path):
            there = self.entry(real)
            for folder in self.missing(real):
                os.mkdir(self.disk(folder))
                os.chmod(self.disk(folder), _FOLDER_MODE)
                _sync_folder(self.disk(folder))
            _unlink(temporary)
            try:
                _write(temporary, fill, there and there.attributes)
                os.replace(temporary, where)
            except OSError:
                _unlink(temporary)
                raise
            _sync_folder(where)


def _write(
    path: str,
    fill: Callable[[BinaryIO, Attributes | None], None],
    there: Attributes | None,
) -> None:
    with open(os.open(path, _NEW, 0o600), "wb") as file:
        fill(file, there)
        file.flush()
        os.fsync(file.fileno())


def _copy(source: str, to: str) -> None:
    """A copy with all that the file has."""

    def fill(file: BinaryIO, _: Attributes | None) -> None:
        with open(source, "rb") as kept:
            shutil.copyfileobj(kept, file)
            file.flush()
            like = read_attributes(kept.fileno())
            set_attributes(file.fileno(), like, with_time=True)

    _write(to, fill, None)


def _beside(path: str) -> str:
    """Where a file is written first.

    The dot keeps it from those who take every file of a folder for
    theirs, as initramfs-tools does its hooks.
    """
    folder, name = posixpath.split(path)
    return posixpath.join(folder, f".{name}.gpu-passthrough-new")


def _unlink(path: str) -> bool:
    """Whether there was such a file."""
    # A read-only file system would refuse before it looks.
    if not os.path.lexists(path):
        return False
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _sync_folder(path: str) -> None:
    handle = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _told(act: str, path: str) -> Iterator[None]:
    """Errors of the kernel as one line of ours."""
    try:
        yield
    except OSError as error:
        kind = errors.ReadFailed if act == "read" else errors.Unavailable
        raise kind(f"cannot {act} {path}: {error.strerror}") from error


# Of the contents, by the kernel's own reckoning: never carried over to
# others.  Source: kernel, Documentation/ABI/testing/evm and ima_policy.
_OF_CONTENTS = frozenset({"security.ima", "security.evm"})
_LABEL = "security.selinux"
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS})


def read_attributes(handle: int) -> Attributes:
    """Those of an open file."""
    found = os.fstat(handle)
    return Attributes(
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        tuple((n, os.getxattr(handle, n)) for n in _names(handle)),
    )


def set_attributes(
    handle: int, wanted: Attributes, *, with_time: bool
) -> None:
    """Give an open file these, and no others.

    The owner goes first: changing it takes set-user-id bits away.
    """
    found = os.fstat(handle)
    if (found.st_uid, found.st_gid) != (wanted.uid, wanted.gid):
        os.fchown(handle, wanted.uid, wanted.gid)
    os.fchmod(handle, wanted.mode)
    names = {name for name, _ in wanted.xattrs}
    for name in _names(handle):
        # One without a label never had one to be taken away.
        if name not in names and name != _LABEL:
            os.removexattr(handle, name)
    for name, value in wanted.xattrs:
        os.setxattr(handle, name, value)
    if with_time:
        os.utime(handle, ns=(wanted.mtime_ns, wanted.mtime_ns))


def _names(handle: int) -> list[str]:
    try:
        return sorted(set(os.listxattr(handle)) - _OF_CONTENTS)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return []
        raise
