"""The hosts that a campaign's clients work on."""

from __future__ import annotations

import random
from collections.abc import Iterator

from gpu_passthrough_plugin.model.unit import Unit
from tests.unit.allocation.build import GPU, NIC, unit

HOSTS = tuple(f"host-{number:02}" for number in range(1, 21))
_CARDS = (GPU, GPU, GPU, GPU, NIC, GPU, NIC, GPU, GPU, NIC)
# The first five are always shown as they are; these otherwise each time,
_RENUMBERED = range(6, 11)
# and these not always.
_LEAVING = range(8, 11)
_RENUMBERINGS = 3

UNITS = len(HOSTS) * len(_CARDS)


def shown(host: str, chance: random.Random | None = None) -> tuple[Unit, ...]:
    """What a host publishes: everything, or what is drawn."""
    return tuple(_shown(host, chance))


def _shown(host: str, chance: random.Random | None) -> Iterator[Unit]:
    for bus, card in enumerate(_CARDS, 1):
        group = bus
        if chance is not None:
            if bus in _LEAVING and chance.random() < 0.5:
                continue
            if bus in _RENUMBERED:
                group += 100 * chance.randrange(_RENUMBERINGS)
        yield unit(bus, card, host=host, node=bus % 2, group=group)
