"""A lock that is held, and whether it still is."""

from __future__ import annotations

import threading
import time

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.lock_backend import Backend
from gpu_passthrough_plugin.host.proof import Proof

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
