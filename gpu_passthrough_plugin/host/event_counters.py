"""How often something happened on this host, whichever process did it.

A small file that commands, the libvirt hook and the agent count in.  To
count is worth no wait and no failure: what cannot be counted at once is lost.
It is replaced whole and not synced, so that a power cut may lose it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator

from gpu_passthrough_plugin.host.ownership import make_private
from gpu_passthrough_plugin.model.metric import CountedEvent, EventCounts

# Longer than another process takes to count.
_WAIT_S, _POLL_S = 0.05, 0.002
# A few methods with their outcomes: whatever is written, it stays small.
_MOST_COUNTERS = 64
_MOST_BYTES = 1 << 16
_MOST_COUNT = 2**53


class EventCounters:
    """The counters in ``folder``.

    :param wait_s: how long to count may wait for another process.
    """

    def __init__(self, folder: str, wait_s: float = _WAIT_S) -> None:
        self._folder = folder
        self._wait_s = wait_s
        self._path = os.path.join(folder, "events.json")

    def count(self, event: CountedEvent, *details: str) -> None:
        """Count one event; never raise, and hardly wait."""
        with contextlib.suppress(OSError, ValueError):
            make_private(self._folder)
            with self._locked() as is_locked:
                if is_locked:
                    self._add((str(event), *details))

    def read(self) -> EventCounts:
        """Return what was counted; nothing where that cannot be read."""
        try:
            with open(self._path, encoding="utf-8") as file:
                rows = json.loads(file.read(_MOST_BYTES))
            return {
                tuple(map(str, row[:-1])): min(int(row[-1]), _MOST_COUNT)
                for row in rows[:_MOST_COUNTERS]
            }
        except (OSError, ValueError, TypeError, IndexError, RecursionError):
            return {}

    def _add(self, key: tuple[str, ...]) -> None:
        counts = dict(self.read())
        if key not in counts and len(counts) >= _MOST_COUNTERS:
            return
        counts[key] = counts.get(key, 0) + 1
        rows = [[*names, number] for names, number in counts.items()]
        temporary = f"{self._path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(rows, file)
        os.replace(temporary, self._path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Lock the folder; give False where others have it for too long."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(self._folder, flags)
        try:
            until = time.monotonic() + self._wait_s
            while True:
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > until:
                        yield False
                        return
                    time.sleep(_POLL_S)
                else:
                    yield True
                    return
        finally:
            os.close(folder)


def of_host(state_path: str) -> EventCounters:
    """Return the counters of a host: one for all of its processes."""
    return EventCounters(os.path.join(state_path, "metrics"))
