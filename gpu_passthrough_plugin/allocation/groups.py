"""Units that are interchangeable, of which only the number matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.allocation.affinity import Fit
from gpu_passthrough_plugin.allocation.matching import Kind
from gpu_passthrough_plugin.allocation.shape import Shape, Slot

Supply = tuple[int, ...]
"""How many primaries there are of each kind."""


class Group(NamedTuple):
    """Units alike in kinds, primaries, NUMA node and switch.

    :param supply: what each of them supplies.
    :param slots: their positions, by address.
    """

    supply: Supply
    slots: tuple[int, ...]


Tree = Mapping[int | None, Mapping[int | None, Sequence[Group]]]
"""Groups by NUMA node and switch."""


def groups(shape: Shape, fits: Sequence[Fit]) -> tuple[list[Kind], Tree]:
    """The kinds of primaries, and the groups; units of no use left out.

    :param fits: a predicate for each of the request's items.
    """
    usable = [_usable(slot, fits) for slot in shape.slots]
    kinds = sorted({k for found in usable for k in found}, key=sorted)
    alike: dict[tuple[Supply, Slot], list[int]] = {}
    for index, slot in enumerate(shape.slots):
        if usable[index]:
            supply = tuple(usable[index].count(kind) for kind in kinds)
            alike.setdefault((supply, slot), []).append(index)
    tree: dict[int | None, dict[int | None, list[Group]]] = {}
    for (supply, slot), slots in alike.items():
        switches = tree.setdefault(slot.place.node, {})
        found = switches.setdefault(slot.switch, [])
        found.append(Group(supply, tuple(slots)))
    return kinds, tree


def _usable(slot: Slot, fits: Sequence[Fit]) -> list[Kind]:
    """The kinds of a unit's primaries, where the policies let them count."""
    kinds = (
        frozenset(i for i in kind if fits[i](slot.place))
        for kind in slot.matches
    )
    return [kind for kind in kinds if kind]
