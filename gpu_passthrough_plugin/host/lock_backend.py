"""A lock backend of tooz's, each of whose answers is waited for so long."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tooz import coordination

from gpu_passthrough_plugin import errors

T = TypeVar("T")

# What a backend may take longer than it was asked to wait, and what
# letting go may take; the lock expires by itself where that fails.
GRACE_S = 5
# Who waits no longer than this need not be told for whom.
_MOMENT_S = 0.3
# What this package calls what a backend needs: setup.cfg, [extras].
_EXTRAS = {
    "etcd3+http": "etcd",
    "etcd3+https": "etcd",
    "kazoo": "zookeeper",
    "mysql": "mysql",
    "postgresql": "postgresql",
    "redis": "redis",
    "zookeeper": "zookeeper",
}


class Backend:
    """A lock backend.

    Not every driver of tooz bounds its own connecting, nor turns all of
    its client's errors into tooz's.
    """

    coordinator: Any

    def __init__(self, url: str, member: str) -> None:
        self._url = url
        self._member = member

    @property
    def scheme(self) -> str:
        return self._url.partition("://")[0]

    def option(self, name: str, default: int) -> int:
        """An option of the URL's, after its ``?``."""
        query = urllib.parse.urlsplit(self._url).query
        found = urllib.parse.parse_qs(query).get(name)
        return int(found[-1]) if found else default

    def start(self) -> None:
        # It tells of each of its tries; what comes of them is told by us.
        logging.getLogger("kazoo").setLevel(logging.ERROR)
        self.coordinator = coordination.get_coordinator(
            self._url, self._member.encode()
        )
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
            raise self._unavailable(failures[0]) from failures[0]
        # Its driver tries a refused password for longer than anybody waits.
        refusing = ", or refused the password," * (self.scheme == "redis")
        raise errors.Unavailable(
            f"the lock backend {redacted_url(self._url)} did not"
            f" answer{refusing} within {timeout_s:g} s; see [coordination]"
            " backend_url"
        )

    def _unavailable(self, error: Exception) -> errors.Unavailable:
        missing = _missing(self.scheme)
        if missing:
            return errors.Unavailable(
                f"the lock backend {redacted_url(self._url)} needs the Python"
                f" module {missing}, which is not installed; install"
                f" gpu-passthrough-plugin[{_EXTRAS[self.scheme]}]"
            )
        return errors.Unavailable(
            f"the lock backend {redacted_url(self._url)} does not answer:"
            f" {_told(error, self._url)}; see [coordination] backend_url"
        )


@contextlib.contextmanager
def started(
    url: str, *, member: str, folder: str, timeout_s: float
) -> Iterator[Backend]:
    """The backend, whose heart beats for what is held inside.

    :param member: who asks; another name than any other's there.
    :param folder: made where it is not there.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise errors.Unavailable(
            f"cannot make the folder for locks: {error}; see [DEFAULT]"
            " state_path"
        ) from error
    backend = Backend(url, member)
    backend.ask(backend.start, timeout_s)
    try:
        yield backend
    finally:
        with contextlib.suppress(errors.Unavailable):
            backend.ask(backend.coordinator.stop, GRACE_S)


def _missing(scheme: str) -> str:
    """The module that tooz's driver needs and that is not there."""
    found = importlib.metadata.entry_points(
        group=coordination.TOOZ_BACKENDS_NAMESPACE, name=scheme
    )
    try:
        for driver in found if scheme in _EXTRAS else ():
            driver.load()
    except ImportError as error:
        return error.name or str(error)
    return ""


def redacted_url(url: str) -> str:
    """Return a URL without user, password and options (which may hold one)."""
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
