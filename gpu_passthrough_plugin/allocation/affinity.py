"""On which NUMA nodes and sockets the units of a request may be.

Nova's NUMA policies, as predicates on where a unit is.

Where this follows Nova (pci/stats.py, ``_filter_pools_for_numa_cells``):
with an instance tied to host NUMA nodes, ``required`` takes units of
those nodes; ``legacy`` also units without a node; ``socket`` units of
those nodes' sockets; ``preferred`` any.

Where it is stricter than Nova, which then looks at no policy at all: an
instance that is tied to no node still wants its units close to each other.
All ``required`` aliases share one node, and the units of one ``socket``
alias a socket.  ``legacy``, which is what an alias has by default, and
``preferred`` only rank: what fits in Nova fits here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.request import Item, NumaPolicy, Request


class NumaLocation(NamedTuple):
    """Where a unit is; None where the host does not say."""

    node: int | None
    socket: int | None


LocationRule = Callable[[NumaLocation], bool]
"""Whether a unit at a location may count for an item of the request."""


def _anywhere(_: NumaLocation) -> bool:
    return True


def rule_sets(
    request: Request,
    locations: Sequence[NumaLocation],
    sockets: Mapping[int, int],
) -> Iterator[tuple[LocationRule, ...]]:
    """Yield each way to keep the NUMA policies: a rule for each item.

    A set of units keeps the policies if it obeys one of these rule sets.

    :param locations: of the units to choose among.
    :param sockets: the host's CPU socket of each NUMA node.
    """
    nodes = request.numa_nodes
    if nodes is not None:
        near = frozenset(sockets[n] for n in nodes if n in sockets)
        yield tuple(
            _tied(i.alias.numa_policy, nodes, near) for i in request.items
        )
        return
    for shared in _required_rules(request, locations):
        yield from itertools.product(
            *(_item_rules(item, locations, shared) for item in request.items)
        )


def _tied(
    policy: NumaPolicy, nodes: frozenset[int], sockets: frozenset[int]
) -> LocationRule:
    match policy:
        case NumaPolicy.REQUIRED:
            return lambda at: at.node in nodes
        case NumaPolicy.LEGACY:
            return lambda at: at.node is None or at.node in nodes
        case NumaPolicy.SOCKET:
            # A node is within one socket, even where the host does not say
            # which.  Source: nova, pci/stats.py.
            return lambda at: at.node in nodes or at.socket in sockets
        case NumaPolicy.PREFERRED:
            return _anywhere


def _required_rules(
    request: Request, locations: Sequence[NumaLocation]
) -> Iterator[LocationRule]:
    """Yield what ``required`` items may share: one node, or anywhere.

    A single function is always on one node.
    """
    counts = [
        item.count
        for item in request.items
        if item.alias.numa_policy is NumaPolicy.REQUIRED
    ]
    if sum(counts) <= 1:
        yield _anywhere
        return
    for node in sorted({at.node for at in locations if at.node is not None}):
        yield _on_node(node)


def _item_rules(
    item: Item, locations: Sequence[NumaLocation], shared: LocationRule
) -> list[LocationRule]:
    """Return the rules of which an item may obey any.

    :param shared: the rule of all ``required`` items.
    """
    policy = item.alias.numa_policy
    if policy is NumaPolicy.REQUIRED:
        return [shared]
    if policy is NumaPolicy.SOCKET and item.count > 1:
        sockets = {at.socket for at in locations if at.socket is not None}
        return [_on_socket(socket) for socket in sorted(sockets)]
    return [_anywhere]


def _on_node(node: int) -> LocationRule:
    return lambda at: at.node == node


def _on_socket(socket: int) -> LocationRule:
    return lambda at: at.socket == socket
