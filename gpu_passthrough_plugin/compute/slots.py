"""Where a guest finds each card: one card, one slot, its display first."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import Unit, UnitFunction

# On i440fx the host bridge and its southbridge hold slots 0 and 1, and
# libvirt puts the primary display on 2.  Source: libvirt, pci-addresses.rst.
_FIRST_SLOT = 3
_LAST_SLOT = 0x1F
_LAST_BUS = 0xFF


@dataclasses.dataclass(frozen=True, slots=True)
class GuestSlot:
    """A slot of the guest and the host's functions on it.

    :param bus: of the guest; 0 on a machine without PCI Express, and
        otherwise the number of a root port of its own.
    :param functions: in the order of the guest's function numbers.
    """

    bus: int
    slot: int
    functions: tuple[Address, ...]


def places(
    units: Sequence[Unit],
    *,
    is_pcie: bool,
    buses: Collection[int],
    slots: Collection[int],
) -> tuple[GuestSlot, ...]:
    """A slot for every card of the units, in the order of the units.

    :param buses: guest buses that are taken.
    :param slots: slots of guest bus 0 that are taken.
    :raises Refused: when the guest has no slot left.
    """
    cards = [card for unit in units for card in _cards(unit)]
    if is_pcie:
        first = max(buses, default=0) + 1
        if first + len(cards) - 1 > _LAST_BUS:
            raise errors.Refused(
                f"the guest has {max(_LAST_BUS + 1 - first, 0)} PCI buses"
                f" free for {len(cards)} cards; ask for fewer, or number its"
                " controllers from 1"
            )
        return tuple(
            GuestSlot(first + number, 0, card)
            for number, card in enumerate(cards)
        )
    free = [s for s in range(_FIRST_SLOT, _LAST_SLOT + 1) if s not in slots]
    if len(free) < len(cards):
        raise errors.Refused(
            f"the guest has {len(free)} PCI slots free for {len(cards)}"
            " cards; ask for fewer, or give it machine='q35'"
        )
    # From the top: libvirt fills the guest's other devices in from below.
    return tuple(
        GuestSlot(0, slot, card)
        for slot, card in zip(reversed(free), cards, strict=False)
    )


def _cards(unit: Unit) -> list[tuple[Address, ...]]:
    cards: dict[tuple[int, int, int], list[UnitFunction]] = {}
    for function in unit.functions:
        cards.setdefault(function.address.card, []).append(function)
    return [
        tuple(
            f.address
            for f in sorted(card, key=lambda f: (not f.is_primary, f.address))
        )
        for card in cards.values()
    ]
