"""Units that are interchangeable, of which only the number matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def groups(
    shape: Shape, among: Iterable[int], fits: Sequence[Fit]
) -> tuple[list[Kind], Tree]:
    """The kinds of primaries, and the groups; units of no use left out.

    :param among: positions of the slots to choose among, ascending.
    :param fits: a predicate for each of the request's items.
    """
    usable = {index: _usable(shape.slots[index], fits) for index in among}
    kinds = sorted({k for found in usable.values() for k in found}, key=sorted)
    alike: dict[tuple[Supply, Slot], list[int]] = {}
    for index, found in usable.items():
        if found:
            supply = tuple(found.count(kind) for kind in kinds)
            alike.setdefault((supply, shape.slots[index]), []).append(index)
    tree: dict[int | None, dict[int | None, list[Group]]] = {}
    for (supply, slot), slots in alike.items():
        switches = tree.setdefault(slot.place.node, {})
        switches.setdefault(slot.switch, []).append(
            Group(supply, tuple(slots))
        )
    return kinds, tree


def _usable(slot: Slot, fits: Sequence[Fit]) -> list[Kind]:
    """The kinds of a unit's primaries, where the policies let them count."""
    kinds = (
        frozenset(i for i in kind if fits[i](slot.place))
        for kind in slot.matches
    )
    return [kind for kind in kinds if kind]
