"""Whether a lock is still held, asked of the backend that keeps it."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

import tooz

from gpu_passthrough_plugin.host.lock_backend import Backend

Proof = Callable[[], bool]
"""Whether the lock is still held; raises where the backend is silent."""

# How long a database keeps the lock of a session that says nothing, as
# that of a host without power.  The others keep theirs for a lease, which
# tooz's heart renews; the option's name and default are theirs, too.
_LEASE_S = 30


def proof(backend: Backend, lock: Any) -> Proof:
    """What tells whether ``lock``, just acquired, is still held."""
    match backend.scheme:
        case "etcd3+http" | "etcd3+https":
            return lambda: _etcd(backend.coordinator, lock)
        case "mysql":
            idle = f"SET SESSION wait_timeout = {_lease_s(backend)}"
            return _Session(lock, idle, _MYSQL_MINE)
        case "postgresql":
            # psycopg2 leaves its transaction open.
            name = "idle_in_transaction_session_timeout"
            idle = f"SET {name} = '{_lease_s(backend)}s'"
            return _Session(lock, idle, _POSTGRESQL_MINE)
        case "zookeeper" | "kazoo":
            return lambda: _zookeeper(backend.coordinator, lock)
    return lambda: _own_word(lock)


def pulse_s(backend: Backend) -> float | None:
    """How often a proof is to be asked for lest the lock ends, if so."""
    if backend.scheme in ("mysql", "postgresql"):
        # Two may be late.
        return _lease_s(backend) / 3
    return None


def _lease_s(backend: Backend) -> int:
    return backend.option("lock_timeout", _LEASE_S)


def _own_word(lock: Any) -> bool:
    try:
        return bool(lock.is_still_owner())
    except tooz.NotImplemented:
        return bool(lock.acquired)


def _etcd(coordinator: Any, lock: Any) -> bool:
    """Whether the lock's key is still this holder's.

    The driver has no word on that, and goes on as if it held a lock whose
    lease has ended.  Source: tooz, drivers/etcd3gw.py.
    """
    key = (lock.LOCK_PREFIX + lock.name).decode()
    mine = base64.b64decode(lock._uuid)
    return bool(coordinator.client.get(key) == [mine])


def _zookeeper(coordinator: Any, lock: Any) -> bool:
    """The same as the lock's own word, but where the connection is cut.

    The driver says that the lock is not its own then; a beat raises.
    """
    if lock.is_still_owner():
        return True
    coordinator.heartbeat()
    return bool(lock.is_still_owner())


# The lock belongs to the session, so that its own connection is asked; tooz
# has no other way to it.  Source: tooz, drivers/mysql.py and pgsql.py.
_MYSQL_MINE = "SELECT IS_USED_LOCK(%s) = CONNECTION_ID()"
_POSTGRESQL_MINE = """
SELECT count(*) > 0 FROM pg_locks
WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
"""


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
