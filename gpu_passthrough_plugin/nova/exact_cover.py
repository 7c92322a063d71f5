"""Sets of whole pieces that hold exactly what is asked for."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

# Other filters drop some of them: there have to be some on each node, and
# each costs those filters their time.
_PER_PLACE = 16

# How many functions of each alias, in the order of the aliases.
Vector = tuple[int, ...]
# Providers for each alias, a provider once for each function of it.
Share = tuple[tuple[str, ...], ...]


class Locality(enum.StrEnum):
    """How close to each other all pieces of a set have to be.

    One piece alone always is; of several it has to be known.
    """

    SAME_SWITCH = "same-switch"
    SAME_NODE = "same-node"


class Piece(NamedTuple):
    """What is handed out as one: a group, or a function outside of any.

    :param node: its NUMA node.
    :param switch: what names the PCIe switch that it shares with others.
    :param is_offered: whether Placement named a provider of it.
    :param ways: what it can count for, each with how that is made up.
    """

    name: str
    node: int | None
    switch: str | None
    is_offered: bool
    ways: Mapping[Vector, Share]


Cover = tuple[tuple[Piece, Vector], ...]
Place = Sequence[Piece]


def shares(
    pieces: Sequence[Piece], wanted: Vector, locality: Locality | None = None
) -> Iterator[Share]:
    """The providers of each alias, of the best set of pieces first."""
    seen = set()
    offered = [piece for piece in pieces if piece.is_offered]
    for among in (offered, pieces):
        for places in _places(among, locality):
            found = itertools.chain.from_iterable(
                covers(place, wanted) for place in places
            )
            some = itertools.islice(found, _PER_PLACE)
            for chosen in sorted(some, key=len):
                parts = [piece.ways[way] for piece, way in chosen]
                share = tuple(
                    tuple(itertools.chain(*of_ask))
                    for of_ask in zip(*parts, strict=True)
                )
                if share not in seen:
                    seen.add(share)
                    yield share


def _places(
    pieces: Sequence[Piece], locality: Locality | None
) -> Iterator[Sequence[Place]]:
    """The places that are searched for a set, some of them as one.

    Those below one switch of each NUMA node, each node, each two nodes,
    and all.  A node with few pieces goes first, so that others stay whole
    for who asks for more.
    """
    on: dict[int | None, list[Piece]] = {}
    for piece in pieces:
        on.setdefault(piece.node, []).append(piece)
    nodes = sorted(
        on, key=lambda n: (n is None, len(on[n]), -1 if n is None else n)
    )
    for node in nodes:
        yield _below_switches(on[node])
    if locality is Locality.SAME_SWITCH:
        return
    for node in nodes:
        if node is not None or locality is None:
            yield [on[node]]
    if locality is Locality.SAME_NODE:
        return
    for some in itertools.combinations(nodes, 2):
        yield [[piece for piece in pieces if piece.node in some]]
    yield [pieces]


def _below_switches(pieces: Sequence[Piece]) -> list[Place]:
    """Those below each switch, the fewest first; below none, each alone."""
    below: dict[tuple[str | None, str], list[Piece]] = {}
    for piece in pieces:
        alone = piece.name if piece.switch is None else ""
        below.setdefault((piece.switch, alone), []).append(piece)
    return sorted(below.values(), key=len)


def covers(pieces: Sequence[Piece], wanted: Vector) -> Iterator[Cover]:
    """Each set of pieces whose counts add up to ``wanted``.

    Those with pieces that come first in ``pieces`` come first.
    """
    yield from _covers(pieces, wanted, 0, set())


def _covers(
    pieces: Sequence[Piece],
    wanted: Vector,
    start: int,
    barren: set[tuple[int, Vector]],
) -> Iterator[Cover]:
    """:param barren: starts from which nothing was found, to skip them."""
    if not any(wanted):
        yield ()
        return
    if (start, wanted) in barren:
        return
    is_barren = True
    for index in range(start, len(pieces)):
        for way in pieces[index].ways:
            left = tuple(w - n for w, n in zip(wanted, way, strict=True))
            if min(left) < 0:
                continue
            for rest in _covers(pieces, left, index + 1, barren):
                is_barren = False
                yield (pieces[index], way), *rest
    if is_barren:
        barren.add((start, wanted))
