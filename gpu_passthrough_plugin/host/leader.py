"""Who leads the agents: the one that holds the leader's lock.

tooz elects on Redis and ZooKeeper only, by a lock as well, and never looks
whether who was elected still holds it.  So every backend has this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.held import Held
from gpu_passthrough_plugin.host.lock_backend import Backend, started
from gpu_passthrough_plugin.host.locks import held

# No host's lock is called that: ``@`` is never part of a quoted name.
_LOCK = "@leader"
_WHAT = "the leadership"


class _Taken(Exception):
    """Another one leads."""


class Leadership:
    """One of those who would lead."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._holding = contextlib.ExitStack()
        self._held: Held | None = None

    def leads(self) -> bool:
        """Whether this one leads now, after a try where nobody does.

        Who asks before each act acts alone, but for one that stood still
        between the answer and the act.

        :raises Unavailable: when the backend does not answer.
        """
        if self._held is None:
            self._try()
        if self._held is None:
            return False
        try:
            self._held.require()
        except errors.Unavailable:
            self.step_down()
            raise
        return True

    def step_down(self) -> None:
        """Let another one lead."""
        self._held = None
        self._holding.close()

    def _try(self) -> None:
        with contextlib.suppress(_Taken):
            self._held = self._holding.enter_context(
                held(self._backend, _LOCK, _WHAT, 0, not_free=_Taken)
            )


@contextlib.contextmanager
def candidate(
    backend_url: str, name: str, *, folder: str, timeout_s: float
) -> Iterator[Leadership]:
    """One that would lead, whether or not the backend lists members."""
    with started(
        backend_url, member=name, folder=folder, timeout_s=timeout_s
    ) as backend:
        leadership = Leadership(backend)
        try:
            yield leadership
        finally:
            leadership.step_down()
