"""What fails around servers, and between them and their clients."""

from __future__ import annotations

import random
import time
from typing import Protocol

from tests.functional.faults.fire import Clients, Fault
from tests.functional.faults.proxy import Proxy
from tests.functional.servers.backends import Backend

_CHANGE_WITHIN_S = 60.0
LEASE_S = 1
"""How long a lock outlives its holder's last word."""


def lock_url(backend: Backend) -> str:
    """tooz's URL of it, with our lease."""
    return f"{backend.url}?lock_timeout={LEASE_S}"


def lock_faults(*backends: Backend) -> dict[str, Fault]:
    """Each lock backend stands still for longer than its leases last."""

    def pausing(backend: Backend) -> Fault:
        def paused(chance: random.Random, clients: Clients) -> None:
            backend.pause()
            try:
                clients.wait(LEASE_S + chance.uniform(0.5, 1.5))
            finally:
                backend.resume()

        return paused

    return {f"{type(one).__name__} paused": pausing(one) for one in backends}


class Served(Protocol):
    """A server that can die, and come back as it was."""

    def kill(self) -> None:
        """Returns when it is dead."""

    def start(self) -> None:
        """Returns when it answers."""


def death(server: Served) -> Fault:
    """The server is killed with -9, and away for a while."""

    def killed(chance: random.Random, clients: Clients) -> None:
        server.kill()
        clients.wait(chance.uniform(0, 1))
        server.start()

    return killed


def faults(proxy: Proxy, change: bytes) -> dict[str, Fault]:
    """What fails between clients and a server, by name.

    :param proxy: what the clients reach the server through.
    :param change: words of a request that changes something.
    """

    def reset(chance: random.Random, clients: Clients) -> None:
        proxy.cut(hard=True)

    def ended(chance: random.Random, clients: Clients) -> None:
        proxy.cut(hard=False)

    def refused(chance: random.Random, clients: Clients) -> None:
        proxy.refuse()
        proxy.cut(hard=True)
        clients.wait(chance.uniform(0.1, 1))
        proxy.accept()

    def slow(chance: random.Random, clients: Clients) -> None:
        proxy.delay(chance.uniform(0.005, 0.05))
        clients.wait(chance.uniform(0.2, 1))
        proxy.delay(0)

    def lost(chance: random.Random, clients: Clients) -> None:
        before = proxy.lost
        proxy.lose_answer(change)
        until = time.monotonic() + _CHANGE_WITHIN_S
        while proxy.lost == before and clients.working:
            clients.wait(0.02)
            assert time.monotonic() < until, "nobody changed anything"

    return {
        "connections reset": reset,
        "connections ended": ended,
        "connections refused": refused,
        "connections slow": slow,
        "answer lost": lost,
    }
