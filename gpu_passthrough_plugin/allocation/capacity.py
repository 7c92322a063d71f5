"""How many free primaries a host has, in numbers that an index can order.

For each device model, the free primaries on each NUMA node, on no node, on
the node that has most of them, and altogether.  The numbers tell which
hosts *may* satisfy a request; whether one does is for
``allocation.choice`` to find.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.request import (
    Alias,
    Item,
    NumaPolicy,
    Request,
)
from gpu_passthrough_plugin.model.unit import DeviceType, Unit


class Place(enum.IntEnum):
    """Where primaries are counted; 0 and above are NUMA nodes."""

    ANYWHERE = -3
    ONE_NODE = -2
    NO_NODE = -1


class DeviceModel(NamedTuple):
    """What of a primary an alias can ask for, traits aside."""

    vendor_id: int
    product_id: int
    device_type: DeviceType


FreeCounts = Mapping[tuple[DeviceModel, int], int]
"""How many free primaries there are of a device model in a place."""


def device_models(units: Iterable[Unit]) -> frozenset[DeviceModel]:
    """Return the device models of the units' primaries."""
    return frozenset(model for unit in units for model in _models(unit))


def count_free(free: Iterable[Unit], units: Iterable[Unit] = ()) -> FreeCounts:
    """Return how many primaries the free units have by model and place.

    :param units: units whose models and places are listed even where none
        is free.
    """
    by_node: dict[DeviceModel, dict[int, int]] = {}
    for some, increment in ((units, 0), (free, 1)):
        for unit in some:
            node = unit.numa_node
            place = Place.NO_NODE.value if node is None else node
            for model in _models(unit):
                places = by_node.setdefault(model, {})
                places[place] = places.get(place, 0) + increment
    counts: dict[tuple[DeviceModel, int], int] = {}
    for model, places in by_node.items():
        for place, number in places.items():
            counts[model, place] = number
        counts[model, Place.ANYWHERE.value] = sum(places.values())
        counts[model, Place.ONE_NODE.value] = max(places.values())
    return counts


def _models(unit: Unit) -> Iterator[DeviceModel]:
    for function in unit.functions:
        if function.is_primary:
            yield DeviceModel(
                function.vendor_id, function.product_id, function.device_type
            )


class Threshold(NamedTuple):
    """How many free primaries of a model in one place make a host worth it."""

    model: DeviceModel
    place: int
    number: int


class HostFilter(NamedTuple):
    """Which hosts may satisfy a request.

    :param thresholds: of the request's main item, the best places first:
        every host that satisfies the request passes at least one of them.
        The main item is the one that the fewest models satisfy, and of
        these the one that asks for most.
    :param others: of every other item, the models that satisfy it and how
        many primaries of these the host needs anywhere.
    """

    thresholds: tuple[Threshold, ...]
    others: tuple[tuple[tuple[DeviceModel, ...], int], ...]


def host_filter(
    request: Request, models: Iterable[DeviceModel]
) -> HostFilter | None:
    """Return which hosts to look at; None if no model satisfies some item.

    :param models: every device model that some host has.
    """
    models = sorted(models)
    matches = [
        tuple(model for model in models if _satisfies(item.alias, model))
        for item in request.items
    ]
    if not all(matches):
        return None
    items = list(zip(matches, request.items, strict=True))
    main = min(items, key=lambda entry: (len(entry[0]), -entry[1].count))
    items.remove(main)
    return HostFilter(
        thresholds=tuple(_thresholds(request, *main)),
        others=tuple((matching, item.count) for matching, item in items),
    )


def _satisfies(alias: Alias, model: DeviceModel) -> bool:
    """Return whether a primary of a model may count; traits are a unit's."""
    name = resource_class.of_ids(model.vendor_id, model.product_id)
    return any(
        spec.vendor_id in (None, model.vendor_id)
        and spec.product_id in (None, model.product_id)
        and spec.device_type is model.device_type
        and spec.resource_class in (None, name)
        for spec in alias.specs
    )


def _thresholds(
    request: Request, models: Sequence[DeviceModel], item: Item
) -> Iterator[Threshold]:
    for place, number in _needs(request, item.alias.numa_policy, item.count):
        # Of primaries of several models, one model has its share.
        share = -(-number // len(models))
        for model in models:
            yield Threshold(model, place, share)


def _needs(
    request: Request, policy: NumaPolicy, number: int
) -> Iterator[tuple[int, int]]:
    """Yield places and how many primaries are needed there, best first."""
    nodes = sorted(request.numa_nodes or ())
    if not nodes:
        if number > 1:
            yield Place.ONE_NODE, number
        # Several that have to share a node are all on a known one.
        if number == 1 or policy is not NumaPolicy.REQUIRED:
            yield Place.ANYWHERE, number
        return
    yield from ((node, number) for node in nodes)
    places = list(nodes)
    if policy is NumaPolicy.LEGACY:
        places.append(Place.NO_NODE)
    if policy in (NumaPolicy.PREFERRED, NumaPolicy.SOCKET):
        yield Place.ANYWHERE, number
        return
    # Of primaries in several places, one place has its share.
    share = -(-number // len(places))
    for place in places:
        if share < number or place is Place.NO_NODE:
            yield place, share
