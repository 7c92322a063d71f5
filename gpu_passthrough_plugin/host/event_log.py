"""The audit record that a host keeps: a file with one event on each line.

For ledgers that have no place for events.  The file is private, is only
appended to, and is written again without its oldest lines when it has grown.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.host_path import sync_folder
from gpu_passthrough_plugin.host.ownership import make_private
from gpu_passthrough_plugin.model import event as model
from gpu_passthrough_plugin.model.event import (
    MAX_LINE_BYTES,
    Event,
    EventListing,
    EventQuery,
    Retention,
)

# After each of these many bytes, old lines are looked for.
PRUNE_INTERVAL_BYTES = 1024 * 1024
# As much is read at most, from the end.
MAX_BYTES = 128 * 1024 * 1024
# How many malformed lines a listing names.
_NAMED_LINES = 20


class EventFile:
    """Events in a file, for this user alone.

    :param path: absolute; made when the first event is written.
    """

    def __init__(self, path: str, retention: Retention) -> None:
        self._path = path
        self._retention = retention

    def append(self, events: Sequence[Event]) -> None:
        """Add events; they are on the disk on return.

        :raises Unavailable: when they cannot be written.
        """
        lines = "".join(map(model.line, events)).encode()
        with self._translated("write to"):
            make_private(os.path.dirname(self._path))
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            with self._locked(flags, fcntl.LOCK_EX) as file:
                size = os.fstat(file).st_size
                # A line that was cut off must not take the next one along.
                if size and os.pread(file, 1, size - 1) != b"\n":
                    lines = b"\n" + lines
                _write(file, lines)
                if not size:
                    sync_folder(os.path.dirname(self._path))
                before, after = size, size + len(lines)
                interval = PRUNE_INTERVAL_BYTES
                if before // interval != after // interval:
                    self._prune(file)

    def read(self, query: EventQuery) -> EventListing:
        """Return events, oldest first; none if none was ever written.

        :raises Unavailable: when the file cannot be read, or others can
            write to it.
        """
        with self._translated("read"):
            try:
                with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as file:
                    lines = list(self._kept(file))
            except FileNotFoundError:
                return EventListing(())
        events = []
        malformed: list[str] = []
        oldest_us = self._oldest_us()
        for line in lines:
            try:
                event = model.from_line(line.decode("utf-8", "replace"))
            except errors.Invalid as error:
                malformed.append(f"{self._path}: {error}")
                continue
            if event.time_us >= oldest_us:
                events.append(event)
        selected, has_more = model.select(events, query)
        if len(malformed) > _NAMED_LINES:
            left_out = len(malformed) - _NAMED_LINES
            malformed[_NAMED_LINES:] = [f"{self._path}: {left_out} more"]
        return EventListing(selected, tuple(malformed), has_more)

    def _oldest_us(self) -> int:
        return self._retention.oldest_us(time.time_ns() // 1000)

    def _kept(self, file: int) -> Iterator[bytes]:
        """Yield the newest lines, no more than are to be kept."""
        size = os.fstat(file).st_size
        with os.fdopen(os.dup(file), "rb") as lines:
            lines.seek(max(0, size - MAX_BYTES))
            if size > MAX_BYTES:
                # The rest of a line whose beginning is left out.
                lines.readline(MAX_LINE_BYTES)
            yield from collections.deque(
                _lines(lines), self._retention.number or None
            )

    def _prune(self, file: int) -> None:
        """Write the file again without what is too old or too many.

        Others that wait for its lock find that it was replaced.
        """
        oldest_us = self._oldest_us()
        kept = b"".join(
            line for line in self._kept(file) if _time_us(line) >= oldest_us
        )
        if len(kept) == os.fstat(file).st_size:
            return
        new = f"{self._path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        handle = os.open(new, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write(handle, kept)
        finally:
            os.close(handle)
        os.replace(new, self._path)
        sync_folder(os.path.dirname(self._path))

    @contextlib.contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        """Give the file's descriptor, locked.

        :raises Unavailable: when others than this user can change it.
        """
        while True:
            file = os.open(
                self._path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(file, lock)
                if not self._is_current(file):
                    continue
                yield file
                return
            finally:
                os.close(file)

    def _is_current(self, file: int) -> bool:
        """Return whether a file is still the one of the path.

        :raises Unavailable: when it is not this user's own regular file.
        """
        status = os.fstat(file)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        ):
            raise errors.Unavailable(
                f"{self._path} belongs to user {status.st_uid} and has mode"
                f" {stat.S_IMODE(status.st_mode):o}; expected a file of user"
                f" {os.geteuid()} that others cannot write to; check what is"
                " in it, then set its owner and mode 0600"
            )
        try:
            now = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)

    @contextlib.contextmanager
    def _translated(self, act: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise errors.Unavailable(
                f"cannot {act} {self._path}, the audit record of this host:"
                f" {error.strerror}"
            ) from error


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, those that are too long as one byte."""
    while line := file.readline(MAX_LINE_BYTES):
        if line.endswith(b"\n") or len(line) < MAX_LINE_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield b"?\n"


def _time_us(line: bytes) -> int:
    """Return when the event of a line happened; 0 if it is malformed."""
    try:
        return model.from_line(line.decode("utf-8", "replace")).time_us
    except errors.Invalid:
        return 0


def _write(file: int, content: bytes) -> None:
    """Write all of it to the disk.

    :raises OSError: when it cannot be written; a part may have been.
    """
    while content:
        content = content[os.write(file, content) :]
    os.fsync(file)
