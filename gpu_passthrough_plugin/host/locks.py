"""The lock that acts on one host's groups take, through tooz."""

from __future__ import annotations

import contextlib
import hashlib
import os
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import holder
from gpu_passthrough_plugin.host.held import Held
from gpu_passthrough_plugin.host.lock_backend import GRACE_S, Backend, started
from gpu_passthrough_plugin.host.proof import proof, pulse_s

# MySQL takes no longer names.  Source: MySQL, "Locking Functions".
_NAME_LENGTH = 64
_DIGEST_LENGTH = 16
# What drivers raise where others return that the lock was not free:
# tenacity's of etcd's, MySQL's and PostgreSQL's, and kazoo's.
_NOT_FREE = ("RetryError", "LockTimeout")


class HostLock:
    """The lock of one host, to take around acts and to ask before each.

    The lock saves retries and keeps processes out of each other's way; a
    lost one costs time, never correctness: that is the ledger's.

    :param folder: where this host notes who holds the lock, for those
        who wait.
    :param timeout_s: how long it is waited for.
    :param waiting: told once who holds it, when it is not free.
    """

    def __init__(
        self,
        backend_url: str,
        host: str,
        *,
        folder: str,
        timeout_s: float,
        waiting: Callable[[str], None],
    ) -> None:
        self._backend_url = backend_url
        self._folder = folder
        self._timeout_s = timeout_s
        self._waiting = waiting
        # The file driver makes the lock's name a part of a path.
        self._name = urllib.parse.quote(host, safe="")
        self._note = os.path.join(folder, f"{self._name}.holder")
        self._what = f"the lock of {host}"
        self._held: Held | None = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold it inside; nobody else acts on the host's groups.

        :raises Unavailable: when the backend does not answer, or the lock
            is not free, within the time.
        """
        member = f"{os.uname().nodename}-{os.getpid()}"
        with (
            started(
                self._backend_url,
                member=member,
                folder=self._folder,
                timeout_s=self._timeout_s,
            ) as backend,
            held(
                backend,
                self._name,
                self._what,
                self._timeout_s,
                slow=self._slow,
                not_free=self._not_free,
            ) as self._held,
        ):
            try:
                holder.write(self._note)
                yield
            finally:
                self._held = None
                holder.remove(self._note)

    def require(self) -> None:
        """Nothing, where the lock is still held, or is not taken at all.

        :raises Unavailable: when it was lost, or nobody can tell.
        """
        if self._held:
            self._held.require()

    def _slow(self) -> None:
        told = holder.told(self._note)
        self._waiting(f"waiting for {self._what}, held by {told}")

    def _not_free(self) -> errors.Unavailable:
        return errors.Unavailable(
            f"{self._what} was not free within {self._timeout_s:g} s; it is"
            f" held by {holder.told(self._note)}; try again when that is done"
        )


def host_lock(
    backend_url: str,
    host: str,
    *,
    folder: str,
    timeout_s: float,
    waiting: Callable[[str], None],
) -> contextlib.AbstractContextManager[None]:
    """The lock of ``HostLock``, taken once."""
    return HostLock(
        backend_url, host, folder=folder, timeout_s=timeout_s, waiting=waiting
    )()


@contextlib.contextmanager
def held(
    backend: Backend,
    name: str,
    what: str,
    timeout_s: float,
    *,
    slow: Callable[[], None] | None = None,
    not_free: Callable[[], Exception],
) -> Iterator[Held]:
    """A lock by its name, which is let go in the end.

    :param timeout_s: 0 to try once.
    :param not_free: what is raised when another one holds it.
    """
    key = lock_name(name).encode()
    lock = backend.ask(lambda: backend.coordinator.get_lock(key), GRACE_S)
    # One try and no second: tooz's file lock counts a try that failed as
    # one that is still to be released.
    if not backend.ask(
        lambda: _is_acquired(lock, timeout_s), timeout_s + GRACE_S, slow
    ):
        raise not_free()
    try:
        tells = backend.ask(lambda: proof(backend, lock), GRACE_S)
        found = Held(backend, what, tells)
        often_s = pulse_s(backend)
        if often_s:
            found.keep(often_s)
        try:
            yield found
        finally:
            found.end()
    finally:
        with contextlib.suppress(errors.Unavailable):
            backend.ask(lock.release, GRACE_S)


def lock_name(name: str) -> str:
    """What the lock is called in the backend: of every name another."""
    whole = f"gpu-passthrough-{name}"
    if len(whole) <= _NAME_LENGTH:
        return whole
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{whole[: _NAME_LENGTH - _DIGEST_LENGTH - 1]}-{digest}"


def _is_acquired(lock: Any, timeout_s: float) -> bool:
    try:
        return bool(lock.acquire(blocking=timeout_s or False))
    except Exception as error:
        if type(error).__name__ in _NOT_FREE:
            return False
        raise
