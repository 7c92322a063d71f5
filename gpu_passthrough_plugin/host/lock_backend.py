"""A lock backend, through tooz: every answer is bounded in time.

Not every driver of tooz bounds its own connecting, or turns all of its
client's errors into tooz's.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import logging
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tooz import coordination

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import url
from gpu_passthrough_plugin.host.ownership import make_private

T = TypeVar("T")

GRACE_S = 5
"""How much longer than asked a call may take, and how long a release may.

A lock expires by itself where its release fails.
"""

_FILES = "file://"
# A shorter wait is not reported.
_REPORTED_WAIT_S = 0.3
# The extra of this package that a backend needs: setup.cfg, [extras].
_EXTRAS = {
    "etcd3+http": "etcd",
    "etcd3+https": "etcd",
    "kazoo": "zookeeper",
    "mysql": "mysql",
    "postgresql": "postgresql",
    "redis": "redis",
    "zookeeper": "zookeeper",
}
# tooz hands none of these to libpq, which then would not verify whom it talks
# to.  Source: tooz, drivers/pgsql.py; PostgreSQL, libpq-envars.html.
_LIBPQ_VARIABLES = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


class LockBackend:
    """A connection to a lock backend.

    :param member: the caller's name there; no other caller may have it.
    """

    coordinator: Any

    def __init__(self, url: str, member: str) -> None:
        self._url = url
        self._member = member
        self.scheme = url.partition("://")[0]

    def option(self, name: str, default: int) -> int:
        """Return an option of the URL's query."""
        values = self._query().get(name)
        return int(values[-1]) if values else default

    def _query(self) -> dict[str, list[str]]:
        return urllib.parse.parse_qs(urllib.parse.urlsplit(self._url).query)

    def start(self) -> None:
        if self.scheme == "postgresql":
            for name, values in self._query().items():
                if name in _LIBPQ_VARIABLES:
                    os.environ[_LIBPQ_VARIABLES[name]] = values[-1]
        # kazoo logs each of its retries; what they end in is reported here.
        logging.getLogger("kazoo").setLevel(logging.ERROR)
        self.coordinator = coordination.get_coordinator(
            self._url, self._member.encode()
        )
        self.coordinator.start(start_heart=True)

    def call(
        self,
        act: Callable[[], T],
        timeout_s: float = GRACE_S,
        on_wait: Callable[[], None] | None = None,
    ) -> T:
        """Return what ``act`` returns.

        :param on_wait: called once, when it takes longer than a moment.
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
        if on_wait:
            thread.join(_REPORTED_WAIT_S)
            if thread.is_alive():
                on_wait()
        thread.join(timeout_s)
        if answers:
            return answers[0]
        if failures:
            raise self._unavailable(failures[0]) from failures[0]
        # Its driver retries a refused password for longer than that.
        refusing = ", or refused the password," * (self.scheme == "redis")
        raise errors.Unavailable(
            f"the lock backend {url.redacted(self._url)} did not"
            f" answer{refusing} within {timeout_s:g} s; see [coordination]"
            " backend_url"
        )

    def _unavailable(self, error: Exception) -> errors.Unavailable:
        shown = url.redacted(self._url)
        module = _missing_module(self.scheme)
        if module:
            return errors.Unavailable(
                f"the lock backend {shown} needs the Python module {module},"
                " which is not installed; install"
                f" gpu-passthrough-plugin[{_EXTRAS[self.scheme]}]"
            )
        return errors.Unavailable(
            f"the lock backend {shown} does not answer:"
            f" {_redacted(error, self._url)}; see [coordination] backend_url"
        )


@contextlib.contextmanager
def connected(
    url: str, *, member: str, folder: str, timeout_s: float
) -> Iterator[LockBackend]:
    """Connect to a backend; inside, leases there are renewed.

    :param member: the caller's name there; no other caller may have it.
    :param folder: for lock files; created if it is missing.
    :raises Unavailable: when the backend does not answer in time.
    """
    try:
        make_private(folder)
    except OSError as error:
        raise _not_created(folder, error.errno or errno.EIO) from error
    with started(url, member, timeout_s) as backend:
        yield backend


@contextlib.contextmanager
def started(url: str, member: str, timeout_s: float) -> Iterator[LockBackend]:
    """Connect to a backend that needs no folder, as ``connected`` does."""
    backend = LockBackend(url, member)
    backend.call(backend.start, timeout_s)
    try:
        yield backend
    finally:
        with contextlib.suppress(errors.Unavailable):
            backend.call(backend.coordinator.stop)


def check(url: str, *, member: str, folder: str, timeout_s: float) -> None:
    """Raise if a backend cannot be used; create no file and take no lock.

    :raises Unavailable: when a folder is not there and cannot be created, is
        not writable, or the backend does not answer in time.
    """
    _require_usable(folder)
    if url.startswith(_FILES):
        _require_usable(urllib.parse.urlsplit(url).path)
        return
    with started(url, member, timeout_s):
        pass


def _require_usable(folder: str) -> None:
    """Raise if no file can be made in a folder, which may be missing yet."""
    existing = folder
    while not os.path.lexists(existing) and existing.strip("/"):
        existing = os.path.dirname(existing)
    number = 0
    if not os.path.isdir(existing):
        number = errno.ENOTDIR
    elif not os.access(existing, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number and existing == folder:
        raise errors.Unavailable(
            f"{folder} cannot be used for locks: {os.strerror(number)}; see"
            " [DEFAULT] state_path and [coordination] backend_url"
        )
    if number:
        raise _not_created(folder, number)


def _not_created(folder: str, number: int) -> errors.Unavailable:
    return errors.Unavailable(
        f"cannot create {folder} for locks: {os.strerror(number)}; see"
        " [DEFAULT] state_path"
    )


def _redacted(error: Exception, backend_url: str) -> str:
    """Return the error in one line, or its class, without a secret."""
    text = " ".join(str(error).split())
    return url.without_secrets(text, backend_url) or type(error).__name__


def _missing_module(scheme: str) -> str:
    """Return the Python module that tooz's driver lacks; "" for none."""
    drivers = importlib.metadata.entry_points(
        group=coordination.TOOZ_BACKENDS_NAMESPACE, name=scheme
    )
    try:
        for driver in drivers if scheme in _EXTRAS else ():
            driver.load()
    except ImportError as error:
        return error.name or str(error)
    return ""
