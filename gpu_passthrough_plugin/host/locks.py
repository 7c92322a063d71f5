"""The lock that acts on one host's groups take, through tooz."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from tooz import ToozError, coordination

from gpu_passthrough_plugin import errors


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
    note = os.path.join(folder, f"{urllib.parse.quote(host, safe='')}.holder")
    with _started(backend_url, folder, timeout_s) as coordinator:
        lock = coordinator.get_lock(f"gpu-passthrough-{host}".encode())
        _acquire(lock, note, host, timeout_s, waiting)
        try:
            _write_note(note)
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(note)
            with contextlib.suppress(ToozError):
                lock.release()


def _acquire(
    lock: Any,
    note: str,
    host: str,
    timeout_s: float,
    waiting: Callable[[str], None],
) -> None:
    try:
        if lock.acquire(blocking=False):
            return
        waiting(f"waiting for the lock of {host}, held by {_holder(note)}")
        if lock.acquire(blocking=timeout_s):
            return
    except ToozError as error:
        raise errors.Unavailable(
            f"the lock of {host} cannot be taken: {error}"
        ) from error
    raise errors.Unavailable(
        f"the lock of {host} was not free within {timeout_s:g} s; it is held"
        f" by {_holder(note)}; try again when that is done"
    )


@contextlib.contextmanager
def _started(url: str, folder: str, timeout_s: float) -> Iterator[Any]:
    member = f"{os.uname().nodename}-{os.getpid()}".encode()
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        coordinator = coordination.get_coordinator(url, member)
        _bounded(lambda: coordinator.start(start_heart=True), url, timeout_s)
    except (ToozError, OSError, ImportError, ValueError) as error:
        raise errors.Unavailable(
            f"the lock backend {_shown(url)} does not answer: {error};"
            " see [coordination] backend_url"
        ) from error
    try:
        yield coordinator
    finally:
        with contextlib.suppress(ToozError):
            coordinator.stop()


def _bounded(act: Callable[[], None], url: str, timeout_s: float) -> None:
    """Do ``act``; not every tooz driver bounds its own connecting."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            act()
        except (ToozError, OSError) as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise errors.Unavailable(
            f"the lock backend {_shown(url)} did not answer within"
            f" {timeout_s:g} s; see [coordination] backend_url"
        )
    if raised:
        raise raised[0]


def _shown(url: str) -> str:
    """The URL without its password."""
    parts = urllib.parse.urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{host}").geturl()


def _write_note(path: str) -> None:
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    command = " ".join(
        os.path.basename(w.decode(errors="replace")) for w in words[:4] if w
    )
    note = {"pid": os.getpid(), "command": command, "since": time.time()}
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(note, file)
    os.replace(beside, path)


def _holder(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            note = json.load(file)
        age_s = max(0, round(time.time() - note["since"]))
        return f"process {note['pid']} ({note['command']}) since {age_s} s"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that left no note yet"
