"""The lock that acts on one host's groups take, through tooz."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import tooz

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.lock_backend import GRACE_S, Backend, started

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
                _write_note(self._note)
                yield
            finally:
                self._held = None
                _remove_note(self._note)

    def require(self) -> None:
        """Nothing, where the lock is still held, or is not taken at all.

        :raises Unavailable: when it was lost, or nobody can tell.
        """
        if self._held:
            self._held.require()

    def _slow(self) -> None:
        told = owner(self._note)
        self._waiting(f"waiting for {self._what}, held by {told}")

    def _not_free(self) -> errors.Unavailable:
        return errors.Unavailable(
            f"{self._what} was not free within {self._timeout_s:g} s; it is"
            f" held by {owner(self._note)}; try again when that is done"
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


# How long a backend that is started again is waited for before an act.
_CHECK_S = 10
_PAUSE_S = 0.5


class Held:
    """A lock that this process took.

    No backend can keep a holder from acting that lost its lock between the
    question and the act; the ledger's generation decides then.

    :param what: as it is told, such as "the lock of node-1".
    """

    def __init__(self, backend: Backend, what: str, proof: Proof) -> None:
        self._backend = backend
        self._what = what
        self._proof = proof
        self._is_lost = False
        self._ended = threading.Event()

    def require(self) -> None:
        """Nothing, where the lock is still held.

        :raises Unavailable: when it was lost, or nobody can tell.
        """
        end = time.monotonic() + _CHECK_S
        while not self._is_lost:
            left = max(_PAUSE_S, end - time.monotonic())
            try:
                self._is_lost = not self._backend.ask(self._proof, left)
            except errors.Unavailable as error:
                if time.monotonic() + _PAUSE_S < end:
                    time.sleep(_PAUSE_S)
                    continue
                raise errors.Unavailable(
                    f"whether {self._what} is still held is not known:"
                    f" {error}; nothing more was done; run the command again"
                ) from error
            if not self._is_lost:
                return
        raise errors.Unavailable(
            f"{self._what} was lost to the lock backend's restart, or while"
            " this process or its way there stood still; nothing more was"
            " done; run the command again"
        )

    def keep(self, pulse_s: float) -> None:
        """Ask for the proof in the background, until ``end``."""
        threading.Thread(
            target=self._pulse, args=(pulse_s,), daemon=True
        ).start()

    def end(self) -> None:
        self._ended.set()

    def _pulse(self, pulse_s: float) -> None:
        while not self._is_lost and not self._ended.wait(pulse_s):
            self._is_lost = not self._proof()


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


_WORDS = 4
_LENGTH = 80
_MALFORMED = (ValueError, KeyError, TypeError)


def _write_note(path: str) -> None:
    """Note this process.  A courtesy: what cannot be noted is not."""
    beside = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        note = {
            "pid": os.getpid(),
            "command": _command(),
            "since": time.time(),
        }
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(note, file)
        os.replace(beside, path)


def _remove_note(path: str) -> None:
    """Take this process's note away, before the lock is let go.

    Where the lock was lost, the note may be the next one's.
    """
    with contextlib.suppress(OSError, *_MALFORMED):
        with open(path, encoding="utf-8") as file:
            is_own = json.load(file)["pid"] == os.getpid()
        if is_own:
            os.unlink(path)


def owner(path: str) -> str:
    """Who it is, as an operator is told.

    A note whose process is gone is of one that died with the lock.
    """
    try:
        with open(path, encoding="utf-8") as file:
            note = json.load(file)
        pid, command = int(note["pid"]), str(note["command"])
        age_s = max(0, round(time.time() - float(note["since"])))
    except (OSError, *_MALFORMED):
        return "a process that left no note yet"
    if not os.path.exists(f"/proc/{pid}"):
        return "a process that left no note yet"
    return f"process {pid} ({command}) since {age_s} s"


def _command() -> str:
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    names = [
        os.path.basename(word.decode(errors="replace"))
        for word in words[:_WORDS]
    ]
    return " ".join(" ".join(names).split())[:_LENGTH]
