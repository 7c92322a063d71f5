"""The folder of a sandbox: recorded hosts, and what was done to them.

``sandbox.json`` has its format, the release that made it, and its hosts;
``gpu-passthrough.conf`` and ``guest.xml`` are the operator's, and written
once; ``aliases.conf`` has a request name for the cards of the recordings;
``ledger.sqlite`` is of all hosts.  Below ``hosts/NAME`` are a host's
``recording.umockdev``, its ``machine.json`` (drivers and guests, as commands
left them) and its ``state``, the ``state_path``.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import ownership
from gpu_passthrough_plugin.host.host_path import sync_folder
from gpu_passthrough_plugin.host.local_lock import LocalLock

_FORMAT = 1
_MARKER, _LOCK, _HOSTS = "sandbox.json", "lock", "hosts"
_CONFIG, _ALIASES, _GUEST = "gpu-passthrough.conf", "aliases.conf", "guest.xml"
_RECORDING = "recording.umockdev"
_TIMEOUT_S = 30.0
# Each means something in the URL of SQLite, of tooz or of libvirt.
_NOT_IN_URLS = frozenset("?#%")


class Recording(NamedTuple):
    """A recorded host to add.

    :param host: its name in the sandbox.
    :param path: where it was read, for messages.
    """

    host: str
    path: str
    content: bytes


class SandboxFolder:
    """A folder for a sandbox, which need not exist yet.

    :param release: of this program.
    :param on_wait: called with who has the sandbox, when it is not free.
    :raises Invalid: when the path cannot be one, or others can change it.
    """

    def __init__(
        self, path: str, release: str, on_wait: Callable[[str], None]
    ) -> None:
        self.path = os.path.realpath(path)
        if not self.path.isprintable() or _NOT_IN_URLS & set(self.path):
            raise errors.not_valid(
                "--sandbox",
                path,
                "a folder whose path has none of ? # % and control characters",
            )
        ownership.require_private(
            self.path, "--sandbox", "give another folder"
        )
        self._release = release
        self._lock = LocalLock(
            self._inside(_LOCK),
            f"the hosts of sandbox {self.path}",
            timeout_s=_TIMEOUT_S,
            on_wait=on_wait,
        )

    @property
    def config(self) -> str:
        return self._inside(_CONFIG)

    @property
    def aliases(self) -> str:
        return self._inside(_ALIASES)

    @property
    def guest(self) -> str:
        return self._inside(_GUEST)

    @property
    def ledger(self) -> str:
        return self._inside("ledger.sqlite")

    def recording(self, host: str) -> str:
        return self._inside(_HOSTS, host, _RECORDING)

    def machine(self, host: str) -> str:
        return self._inside(_HOSTS, host, "machine.json")

    def state(self, host: str) -> str:
        return self._inside(_HOSTS, host, "state")

    def hosts(self) -> tuple[str, ...]:
        """Return the names of the hosts, in the order in which they came.

        :raises Invalid: when the folder is something else, or what another
            release made.
        """
        path = self._inside(_MARKER)
        try:
            with open(path, "rb") as file:
                marker = json.load(file)
            if marker["format"] == _FORMAT:
                return tuple(map(str, marker["hosts"]))
            release = marker["release"]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise errors.ReadFailed(
                f"cannot read {path}: {error.strerror}"
            ) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise errors.Invalid(
                f"{path} is damaged ({error!r}); remove {self.path}, or give"
                " another folder"
            ) from error
        raise errors.Invalid(
            f"{self.path} is a sandbox of release {release!s:.40}, and this"
            f" is {self._release}; give another folder"
        )

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Be the one process that makes the sandbox, or adds hosts, inside.

        :raises Invalid: when the folder holds something else.
        """
        try:
            present = set(os.listdir(self.path))
        except FileNotFoundError:
            present = set()
        except OSError as error:
            raise errors.Invalid(
                f"--sandbox {self.path} cannot be used ({error.strerror});"
                " expected a sandbox, or a folder that is empty or missing"
            ) from error
        if present - {_LOCK} and _MARKER not in present:
            raise errors.Invalid(
                f"--sandbox {self.path} is not a sandbox and not empty;"
                " expected a sandbox, or a folder that is empty or missing"
            )
        try:
            ownership.make_private(self.path)
        except OSError as error:
            raise errors.Invalid(
                f"cannot create {self.path}: {error.strerror}; give another"
                " folder"
            ) from error
        with self._lock():
            yield

    def add(self, recordings: Sequence[Recording]) -> tuple[str, ...]:
        """Write recordings of hosts; return the names of those that are new.

        They are hosts of the sandbox once they are marked.

        :raises Refused: when a host is there, of another recording.
        :raises Unavailable: when something cannot be written.
        """
        hosts = self.hosts()
        for recording in recordings:
            self._require_same(recording, hosts)
        # One that is killed before its first host is a sandbox as well.
        self.mark(hosts)
        new = [r for r in recordings if r.host not in hosts]
        for recording in new:
            write(self.recording(recording.host), recording.content)
        return tuple(r.host for r in new)

    def keep(self, path: str, content: str) -> None:
        """Write a file of the operator's, unless there is one."""
        if not os.path.lexists(path):
            write(path, content.encode())

    def _require_same(
        self, recording: Recording, hosts: Collection[str]
    ) -> None:
        if recording.host not in hosts:
            return
        path = self.recording(recording.host)
        try:
            with open(path, "rb") as file:
                is_same = file.read() == recording.content
        except OSError as error:
            raise errors.ReadFailed(
                f"cannot read {path}: {error.strerror}"
            ) from error
        if not is_same:
            raise errors.Refused(
                f"sandbox {self.path} has a host {recording.host} already,"
                f" and its recording is not {recording.path}; copy that to a"
                " file of another name"
            )

    def mark(self, hosts: Sequence[str]) -> None:
        """Say which hosts the sandbox has."""
        marker = {
            "format": _FORMAT,
            "release": self._release,
            "hosts": list(hosts),
        }
        text = json.dumps(marker, indent=1)
        write(self._inside(_MARKER), f"{text}\n".encode())

    def _inside(self, *names: str) -> str:
        return os.path.join(self.path, *names)


def write(path: str, content: bytes) -> None:
    """Write a file of a sandbox, whole or not at all.

    :raises Unavailable: when it cannot be written.
    """
    temporary = f"{path}.{os.getpid()}.new"
    folder = os.path.dirname(path)
    try:
        ownership.make_private(folder)
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
        sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise errors.Unavailable(
            f"cannot write {path}: {error.strerror}"
        ) from error
