"""How one process at a time acts on a host: its lock, through tooz.

A lock is held, is checked to be still held before each act, and leaves a
note that tells waiting processes who holds it.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import tooz

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import lock_backend
from gpu_passthrough_plugin.host.local_lock import (
    owner,
    remove_note,
    write_note,
)
from gpu_passthrough_plugin.host.lock_backend import (
    GRACE_S,
    LockBackend,
    connected,
)

IsHeld = Callable[[], bool]
"""Returns whether a lock is still held; raises where the backend is silent."""

Require = Callable[[], None]
"""Raises Unavailable when a lock was lost, or when that is unknown."""

# How long a backend that restarts is waited for before an act.
_CHECK_S = 10
_RETRY_S = 0.5
# How long a database keeps the lock of a silent session, such as that of a
# host that lost power.  The other backends have a lease, which tooz renews;
# the option's name and its default are the same as theirs.
_LEASE_OPTION = "lock_timeout"
_LEASE_S = 30
# MySQL takes no longer names.  Source: MySQL, "Locking Functions".
_NAME_LENGTH = 64
_DIGEST_LENGTH = 16
# What drivers raise where others return that the lock was not free:
# tenacity's (etcd, MySQL, PostgreSQL) and kazoo's.
_NOT_FREE = ("RetryError", "LockTimeout")
# A database's lock belongs to its session, so the lock's own connection is
# queried; tooz has no public way to that.  Source: tooz, drivers/mysql.py and
# drivers/pgsql.py.
_MYSQL_LEASE = "SET SESSION wait_timeout = {}"
_MYSQL_IS_HELD = "SELECT IS_USED_LOCK(%(name)s) = CONNECTION_ID()"
# psycopg2 leaves its transaction open.
_POSTGRESQL_LEASE = "SET idle_in_transaction_session_timeout = '{}s'"
_POSTGRESQL_IS_HELD = """
SELECT count(*) > 0 FROM pg_locks
WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
"""


class HostLock:
    """The lock of one host, to hold around acts and to check before each.

    It keeps processes out of each other's way and saves retries.  A lost
    lock costs time, never correctness: the ledger ensures that.

    :param folder: where this host notes who holds the lock.
    :param timeout_s: how long to wait for the lock.
    :param on_wait: called once with who holds the lock, when it is not free.
    """

    def __init__(
        self,
        backend_url: str,
        host: str,
        *,
        folder: str,
        timeout_s: float,
        on_wait: Callable[[str], None],
    ) -> None:
        self._backend_url = backend_url
        self._folder = folder
        self._timeout_s = timeout_s
        self._on_wait = on_wait
        # The file driver makes the lock's name a part of a path.
        self._name = urllib.parse.quote(host, safe="")
        self._note = os.path.join(folder, f"{self._name}.holder")
        self._title = f"the lock of {host}"
        self._require: Require | None = None

    @property
    def _member(self) -> str:
        return f"{os.uname().nodename}-{os.getpid()}"

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the lock inside.

        :raises Unavailable: when the backend does not answer in time, or
            the lock does not become free in time.
        """
        with (
            connected(
                self._backend_url,
                member=self._member,
                folder=self._folder,
                timeout_s=self._timeout_s,
            ) as backend,
            locked(
                backend,
                self._name,
                self._title,
                self._timeout_s,
                on_wait=lambda: self._on_wait(
                    f"waiting for {self._title}, held by {owner(self._note)}"
                ),
                not_free=self._not_free,
            ) as self._require,
        ):
            try:
                write_note(self._note)
                yield
            finally:
                self._require = None
                remove_note(self._note)

    def check(self) -> None:
        """Raise if the lock cannot be taken here; create and take nothing.

        :raises Unavailable: when the backend cannot be used.
        """
        lock_backend.check(
            self._backend_url,
            member=self._member,
            folder=self._folder,
            timeout_s=self._timeout_s,
        )

    def require(self) -> None:
        """Raise if the lock was taken and is not held any more.

        The lock may be lost between this check and the next write; the
        ledger's generation check catches that.

        :raises Unavailable: when it was lost, or that is unknown.
        """
        if self._require:
            self._require()

    def _not_free(self) -> errors.Unavailable:
        return errors.Unavailable(
            f"{self._title} was not free within {self._timeout_s:g} s: held by"
            f" {owner(self._note)}; try again when that command has ended"
        )


@contextlib.contextmanager
def locked(
    backend: LockBackend,
    name: str,
    title: str,
    timeout_s: float,
    *,
    on_wait: Callable[[], None] | None = None,
    not_free: Callable[[], Exception],
) -> Iterator[Require]:
    """Hold a lock inside; give what checks it before an act.

    :param title: as messages name it, such as "the lock of node-1".
    :param timeout_s: how long to wait for it; 0 to try once.
    :param on_wait: called once, when it is not free at once.
    :param not_free: makes what is raised when another holder keeps it.
    """
    key = lock_name(name).encode()
    lock = backend.call(lambda: backend.coordinator.get_lock(key))
    # One try and no second: tooz's file lock counts a try that failed as
    # one that is still to be released.
    if not backend.call(
        lambda: _is_acquired(lock, timeout_s), timeout_s + GRACE_S, on_wait
    ):
        raise not_free()
    try:
        is_held = backend.call(lambda: _liveness(backend, lock))
        with _renewed(backend, is_held):
            yield functools.partial(_require_held, backend, title, is_held)
    finally:
        with contextlib.suppress(errors.Unavailable):
            backend.call(lock.release)


def lock_name(name: str) -> str:
    """Return a lock's name in the backend: short, and another for each."""
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


def _require_held(backend: LockBackend, title: str, is_held: IsHeld) -> None:
    if not _is_still_held(backend, title, is_held):
        raise errors.Unavailable(
            f"{title} was lost: its backend restarted, or this process or its"
            " connection was stalled; stopped; run the command again"
        )


def _is_still_held(backend: LockBackend, title: str, is_held: IsHeld) -> bool:
    """Return the backend's answer; wait a while for one that restarts."""
    deadline = time.monotonic() + _CHECK_S
    while True:
        left_s = max(_RETRY_S, deadline - time.monotonic())
        try:
            return backend.call(is_held, left_s)
        except errors.Unavailable as error:
            if time.monotonic() + _RETRY_S >= deadline:
                raise errors.Unavailable(
                    f"whether {title} is still held is unknown: {error};"
                    " stopped; run the command again"
                ) from error
            time.sleep(_RETRY_S)


@contextlib.contextmanager
def _renewed(backend: LockBackend, is_held: IsHeld) -> Iterator[None]:
    """Keep a database's session alive inside; tooz keeps other leases."""
    if backend.scheme not in ("mysql", "postgresql"):
        yield
        return
    is_over = threading.Event()

    def renew() -> None:
        # Two may be late.
        while not is_over.wait(_lease_s(backend) / 3):
            is_held()

    threading.Thread(target=renew, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def _lease_s(backend: LockBackend) -> int:
    return backend.option(_LEASE_OPTION, _LEASE_S)


def _liveness(backend: LockBackend, lock: Any) -> IsHeld:
    """Return what tells whether a lock, just acquired, is still held."""
    match backend.scheme:
        case "etcd3+http" | "etcd3+https":
            return lambda: _is_etcd_held(backend.coordinator, lock)
        case "zookeeper" | "kazoo":
            return lambda: _is_zookeeper_held(backend.coordinator, lock)
        case "mysql":
            lease = _MYSQL_LEASE.format(_lease_s(backend))
            return _session_liveness(lock, lease, _MYSQL_IS_HELD)
        case "postgresql":
            lease = _POSTGRESQL_LEASE.format(_lease_s(backend))
            return _session_liveness(lock, lease, _POSTGRESQL_IS_HELD)
    return lambda: _is_own(lock)


def _is_own(lock: Any) -> bool:
    try:
        return bool(lock.is_still_owner())
    except tooz.NotImplemented:
        return bool(lock.acquired)


def _is_etcd_held(coordinator: Any, lock: Any) -> bool:
    """Return whether the lock's key is still this holder's.

    The driver does not tell, and keeps a lock whose lease has ended.
    Source: tooz, drivers/etcd3gw.py.
    """
    key = (lock.LOCK_PREFIX + lock.name).decode()
    own_value = base64.b64decode(lock._uuid)
    return bool(coordinator.client.get(key) == [own_value])


def _is_zookeeper_held(coordinator: Any, lock: Any) -> bool:
    """Return what the driver says; raise where the connection is cut.

    The driver would say then that the lock is not held; a beat raises.
    """
    if lock.is_still_owner():
        return True
    coordinator.heartbeat()
    return bool(lock.is_still_owner())


def _session_liveness(lock: Any, lease: str, is_held: str) -> IsHeld:
    """Give a database's session a lease, which each query renews."""
    connection = lock._conn
    # A connection serves one query at a time.
    asking = threading.Lock()
    with connection.cursor() as cursor:
        cursor.execute(lease)

    def ask() -> bool:
        with asking:
            try:
                with connection.cursor() as cursor:
                    cursor.execute(is_held, {"name": lock.name})
                    return bool(cursor.fetchone()[0])
            except connection.Error:
                # The session has ended, and with it what it held.
                return False

    return ask
