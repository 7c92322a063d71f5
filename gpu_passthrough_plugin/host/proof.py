"""Whether a lock is still held, asked of the backend that keeps it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import tooz

from gpu_passthrough_plugin.host.backend import Backend

Proof = Callable[[], bool]
"""Whether the lock is still held; raises where the backend is silent."""

# How long a database keeps the lock of a session that says nothing, as
# that of a host without power; the others keep theirs for a lease, which
# tooz's heart renews.
SESSION_S = 30


def proof(backend: Backend, lock: Any, began: float) -> Proof:
    """What tells whether ``lock``, just acquired, is still held.

    :param began: when it was asked for, by the monotonic clock.
    """
    match backend.scheme:
        case "etcd3+http" | "etcd3+https":
            return _etcd(backend.coordinator, lock, began)
        case "mysql":
            return _Session(lock, _MYSQL_IDLE, _MYSQL_MINE)
        case "postgresql":
            return _Session(lock, _POSTGRESQL_IDLE, _POSTGRESQL_MINE)
    return lambda: _own_word(lock)


def needs_asking(backend: Backend) -> bool:
    """Whether the lock ends unless its proof is asked for regularly."""
    return backend.scheme in ("mysql", "postgresql")


def _own_word(lock: Any) -> bool:
    try:
        return bool(lock.is_still_owner())
    except tooz.NotImplemented:
        return bool(lock.acquired)


def _etcd(coordinator: Any, lock: Any, began: float) -> Proof:
    """The lock's key holds what it held when the lock was acquired.

    The driver's own word is not enough: it goes on saying that it holds a
    lock whose lease has ended.
    """
    key = (lock.LOCK_PREFIX + lock.name).decode()
    token = coordinator.client.get(key)
    # Read before the lease can have ended, so that it is ours.
    was_in_time = time.monotonic() - began < coordinator.lock_timeout
    return lambda: (
        was_in_time and bool(token) and coordinator.client.get(key) == token
    )


# The lock belongs to the session, so that its own connection is asked; tooz
# has no other way to it.  Source: tooz, drivers/mysql.py and pgsql.py.
_MYSQL_MINE = "SELECT IS_USED_LOCK(%s) = CONNECTION_ID()"
_MYSQL_IDLE = f"SET SESSION wait_timeout = {SESSION_S}"
_POSTGRESQL_MINE = """
SELECT count(*) > 0 FROM pg_locks
WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
"""
# psycopg2 leaves its transaction open.
_POSTGRESQL_IDLE = f"SET idle_in_transaction_session_timeout = '{SESSION_S}s'"


class _Session:
    """A lock of a database's session, which ends when it says nothing."""

    def __init__(self, lock: Any, idle: str, mine: str) -> None:
        self._lock = lock
        self._mine = mine
        # One connection serves one question at a time.
        self._asking = threading.Lock()
        self._connection = lock._conn
        with self._connection.cursor() as cursor:
            cursor.execute(idle)

    def __call__(self) -> bool:
        names = (self._lock.name,) if "%s" in self._mine else None
        with self._asking:
            try:
                with self._connection.cursor() as cursor:
                    cursor.execute(self._mine, names)
                    return bool(cursor.fetchone()[0])
            except self._connection.Error:
                # The session is over, and with it what it held.
                return False
