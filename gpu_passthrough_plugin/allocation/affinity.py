"""NUMA policies, as predicates on where a unit is.

Where this follows Nova (pci/stats.py, ``_filter_pools_for_numa_cells``):
with an instance tied to host NUMA nodes, ``required`` takes units of
those nodes; ``legacy`` also units without a node; ``socket`` units of
those nodes' sockets; ``preferred`` any.

Where it widens Nova, which then looks at no policy at all: an instance
that is tied to no node still wants its units close to each other.  All
``required`` aliases share one node, and the units of one ``socket`` alias
a socket.  ``legacy``, which is what an alias has by default, and
``preferred`` only rank: what fits in Nova fits here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.request import Item, NumaPolicy, Request


class Place(NamedTuple):
    """Where a unit is; None where that is not known."""

    node: int | None
    socket: int | None


Fit = Callable[[Place], bool]


def _anywhere(_: Place) -> bool:
    return True


def ways(
    request: Request, places: Sequence[Place], sockets: Mapping[int, int]
) -> Iterator[tuple[Fit, ...]]:
    """Each way to keep the policies: one predicate for each item.

    A set of units keeps them when it keeps one of the ways.

    :param places: of the units to choose among.
    :param sockets: the host's CPU socket of each NUMA node.
    """
    nodes = request.numa_nodes
    if nodes is not None:
        near = frozenset(sockets[n] for n in nodes if n in sockets)
        yield tuple(
            _tied(i.alias.numa_policy, nodes, near) for i in request.items
        )
        return
    for common in _required(request, places):
        yield from itertools.product(
            *(_own(item, places, common) for item in request.items)
        )


def _tied(
    policy: NumaPolicy, nodes: frozenset[int], sockets: frozenset[int]
) -> Fit:
    match policy:
        case NumaPolicy.REQUIRED:
            return lambda place: place.node in nodes
        case NumaPolicy.LEGACY:
            return lambda place: place.node is None or place.node in nodes
        case NumaPolicy.SOCKET:
            # A node lies within one socket, known or not, as Nova has it.
            return lambda place: place.node in nodes or place.socket in sockets
        case NumaPolicy.PREFERRED:
            return _anywhere


def _required(request: Request, places: Sequence[Place]) -> Iterator[Fit]:
    """What the required items share: each node; any where one is enough."""
    counts = [
        item.count
        for item in request.items
        if item.alias.numa_policy is NumaPolicy.REQUIRED
    ]
    if sum(counts) <= 1:
        yield _anywhere
        return
    for node in sorted({p.node for p in places if p.node is not None}):
        yield _on_node(node)


def _own(item: Item, places: Sequence[Place], common: Fit) -> list[Fit]:
    """The predicates that one item may keep.

    :param common: what the required items share.
    """
    policy = item.alias.numa_policy
    if policy is NumaPolicy.REQUIRED:
        return [common]
    if policy is NumaPolicy.SOCKET:
        if item.count == 1:
            return [_anywhere]
        sockets = {p.socket for p in places if p.socket is not None}
        return [_on_socket(socket) for socket in sorted(sockets)]
    return [_anywhere]


def _on_node(node: int) -> Fit:
    return lambda place: place.node == node


def _on_socket(socket: int) -> Fit:
    return lambda place: place.socket == socket
