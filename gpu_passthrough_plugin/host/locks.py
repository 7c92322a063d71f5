"""The lock that acts on one host's groups take, through tooz."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tooz import coordination

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import holder

T = TypeVar("T")

# What a backend may take longer than it was asked to wait, and what
# letting go may take; the lock expires by itself where that fails.
_GRACE_S = 5
# Who waits no longer than this need not be told for whom.
_MOMENT_S = 0.3


@contextlib.contextmanager
def host_lock(
    backend_url: str,
    host: str,
    *,
    folder: str,
    timeout_s: float,
    waiting: Callable[[str], None],
) -> Iterator[None]:
    """Hold the host's lock inside; nobody else acts on its groups.

    The lock saves retries and keeps processes out of each other's way; a
    lost one costs time, never correctness: that is the ledger's.

    :param folder: where this host notes who holds the lock, for those
        who wait.
    :param waiting: told once who holds it, when it is not free.
    :raises Unavailable: when the backend does not answer, or the lock is
        not free, within ``timeout_s``.
    """
    # The file driver makes the lock's name a part of a path.
    name = urllib.parse.quote(host, safe="")
    note = os.path.join(folder, f"{name}.holder")
    with _started(backend_url, folder, timeout_s) as backend:
        lock = _acquired(
            backend, f"gpu-passthrough-{name}", note, host, timeout_s, waiting
        )
        try:
            holder.write(note)
            yield
        finally:
            holder.remove(note)
            with contextlib.suppress(errors.Unavailable):
                backend.ask(lock.release, _GRACE_S)


def _acquired(
    backend: _Backend,
    name: str,
    note: str,
    host: str,
    timeout_s: float,
    waiting: Callable[[str], None],
) -> Any:
    """The lock, held."""
    lock = backend.coordinator.get_lock(name.encode())

    def slow() -> None:
        told = holder.told(note)
        waiting(f"waiting for the lock of {host}, held by {told}")

    # One try and no second: tooz's file lock counts a try that failed as
    # one that is still to be released.
    if backend.ask(
        lambda: lock.acquire(blocking=timeout_s), timeout_s + _GRACE_S, slow
    ):
        return lock
    raise errors.Unavailable(
        f"the lock of {host} was not free within {timeout_s:g} s; it is held"
        f" by {holder.told(note)}; try again when that is done"
    )


@contextlib.contextmanager
def _started(url: str, folder: str, timeout_s: float) -> Iterator[_Backend]:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise errors.Unavailable(
            f"cannot make the folder for locks: {error}; see [DEFAULT]"
            " state_path"
        ) from error
    backend = _Backend(url)
    backend.ask(backend.start, timeout_s)
    try:
        yield backend
    finally:
        with contextlib.suppress(errors.Unavailable):
            backend.ask(backend.coordinator.stop, _GRACE_S)


class _Backend:
    """A lock backend, each of whose answers is waited for so long.

    Not every driver of tooz bounds its own connecting, nor turns all of
    its client's errors into tooz's.
    """

    coordinator: Any

    def __init__(self, url: str) -> None:
        self._url = url

    def start(self) -> None:
        member = f"{os.uname().nodename}-{os.getpid()}".encode()
        self.coordinator = coordination.get_coordinator(self._url, member)
        self.coordinator.start(start_heart=True)

    def ask(
        self,
        act: Callable[[], T],
        timeout_s: float,
        slow: Callable[[], None] | None = None,
    ) -> T:
        """What ``act`` returns.

        :param slow: called once, when it takes longer than a moment.
        :raises Unavailable: when it raises, or takes longer.
        """
        answers: list[T] = []
        failures: list[Exception] = []

        def run() -> None:
            try:
                answers.append(act())
            except Exception as error:  # noqa: BLE001 - raised again below
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        if slow:
            thread.join(_MOMENT_S)
            if thread.is_alive():
                slow()
        thread.join(timeout_s)
        if answers:
            return answers[0]
        if failures:
            raise errors.Unavailable(
                f"the lock backend {_shown(self._url)} does not answer:"
                f" {_told(failures[0], self._url)}; see [coordination]"
                " backend_url"
            ) from failures[0]
        raise errors.Unavailable(
            f"the lock backend {_shown(self._url)} did not answer within"
            f" {timeout_s:g} s; see [coordination] backend_url"
        )


def _shown(url: str) -> str:
    """The URL without user, password and options, which may hold one."""
    scheme, _, rest = url.partition("://")
    credentials, _, place = rest.rpartition("@")
    place = place.partition("?")[0]
    return f"{scheme}://{'***@' if credentials else ''}{place}"


def _told(error: Exception, url: str) -> str:
    """The error in one line; its kind alone where it tells a secret."""
    kind = type(error).__name__
    text = " ".join(str(error).split())
    rest = url.partition("://")[2]
    secrets = [rest.rpartition("@")[0], rest.partition("?")[2]]
    pieces = re.split(r"[:/@?#&=]", "/".join(secrets))
    if not text or any(piece in text for piece in pieces if piece):
        return kind
    return text
