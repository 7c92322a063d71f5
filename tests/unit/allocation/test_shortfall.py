"""Why a request finds no units: the data, for every obstacle there is."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.allocation.shortfall import (
    Apart,
    Kept,
    Obstacle,
    Scope,
    Shortfall,
    explain,
)
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.request import (
    Alias,
    Item,
    NumaPolicy,
    Request,
    Spec,
)
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    State,
    Unit,
    UnitRecord,
)
from tests.unit.allocation.build import (
    AUDIO,
    NIC,
    NVIDIA,
    host,
    of_type,
    record,
    request,
    unit,
)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"


def shortfall(
    wish: Request,
    *records: UnitRecord,
    hosts: tuple[HostRecord, ...] = (host("h"),),
    name: str | None = None,
) -> Shortfall:
    return explain(wish, name, hosts, records)


def kept(wish: Request, *records: UnitRecord) -> tuple[Kept, ...]:
    """Return the obstacles of a request's only item, on one host."""
    (item,) = shortfall(wish, *records).items
    assert item.units == len(records)
    return item.kept


def only(wish: Request, published: UnitRecord) -> tuple[Obstacle, object]:
    """Return the obstacle of a unit."""
    ((obstacle, details, units),) = kept(wish, published)
    assert units == 1
    return obstacle, details


def test_each_obstacle_of_a_unit() -> None:
    gpu = request("gpu:1")
    pf = of_type(unit(1), DeviceType.PF)
    assert only(gpu, record(pf)) == (Obstacle.DEVICE_TYPE, ("type-PF",))
    lacking = (Obstacle.TRAITS_LACKING, ("CUSTOM_GOLD",))
    assert only(request("gold:1"), record(unit(1))) == lacking
    loud = record(unit(1, traits="LOUD"))
    forbidden = (Obstacle.TRAITS_FORBIDDEN, ("CUSTOM_LOUD",))
    assert only(request("gpu:1", without="LOUD"), loud) == forbidden
    active = record(unit(1), State.ACTIVE, A)
    assert only(gpu, active) == (Obstacle.HELD, ("active", A))
    locked = record(unit(1), State.QUARANTINED, reason="fan")
    assert only(gpu, locked) == (Obstacle.QUARANTINED, ("fan",))
    missing = record(unit(1), is_missing=True)
    assert only(gpu, missing) == (Obstacle.MISSING, ())
    for node, details in ((1, ("1",)), (None, ())):
        tied = request("required:1", 0)
        elsewhere = (Obstacle.NUMA_NODE, details)
        assert only(tied, record(unit(1, node=node))) == elsewhere
    audio = Spec(NVIDIA, AUDIO, DeviceType.PCI, None, frozenset())
    sound = Alias("sound", NumaPolicy.LEGACY, (audio,))
    companion = (Obstacle.COMPANION, ())
    assert only(Request((Item(sound, 1),)), record(unit(1))) == companion


def test_the_device_type_tells_before_the_state() -> None:
    """What never fits is told first: waiting for it would not help."""
    pf = record(of_type(unit(1), DeviceType.PF), State.ACTIVE, A)
    assert only(request("gpu:1"), pf)[0] is Obstacle.DEVICE_TYPE


def test_the_nearest_of_several_devices_and_entries_tells() -> None:
    """A card's audio never counts; that its display is a PF is the reason."""
    specs = tuple(
        Spec(NVIDIA, None, device_type, None, frozenset())
        for device_type in (DeviceType.VF, DeviceType.PCI)
    )
    wish = Request((Item(Alias("any", NumaPolicy.LEGACY, specs), 1),))
    pf = of_type(unit(1), DeviceType.PF)
    assert only(wish, record(pf)) == (Obstacle.DEVICE_TYPE, ("type-PF",))
    (item,) = shortfall(wish, record(unit(1)), name="h").items
    assert (item.free, item.functions, item.kept) == (1, 1, ())


def test_the_example_of_the_guide() -> None:
    hosts = (host("h"), host("hyhive", cordoned="firmware upgrade"))
    (item,) = shortfall(
        request("gpu:1"),
        record(of_type(unit(1), DeviceType.PF)),
        record(unit(2), State.ACTIVE, A),
        record(unit(1, host="hyhive")),
        record(unit(9, NIC)),
        hosts=hosts,
    ).items
    assert (item.units, item.free) == (3, 0)
    assert item.kept == (
        Kept(Obstacle.DEVICE_TYPE, ("type-PF",), 1),
        Kept(Obstacle.HELD, ("active", A), 1),
        Kept(Obstacle.CORDONED, ("hyhive", "firmware upgrade"), 1),
    )


def test_consumers_are_named_where_few_units_are_held() -> None:
    held = [record(unit(n), State.ACTIVE, A) for n in range(1, 9)]
    assert kept(request("gpu:9"), *held)[0].details == ("active", A)
    held.append(record(unit(9), State.ACTIVE, B))
    assert kept(request("gpu:9"), *held) == (
        Kept(Obstacle.HELD, ("active", ""), 9),
    )


def test_scopes_without_units() -> None:
    gpu = request("gpu:1")
    blue = dataclasses.replace(gpu, aggregate="blue")
    free = record(unit(1))
    assert shortfall(gpu, free, name="g").scope is Scope.NO_SUCH_HOST
    assert shortfall(gpu, hosts=()).scope is Scope.NO_HOSTS
    assert shortfall(gpu).scope is Scope.NO_UNITS
    outside = shortfall(blue, free, hosts=(host("h", "red"),))
    assert outside.scope is Scope.NOT_IN_AGGREGATE
    assert outside.aggregates == {"red"}
    uncounted = explain(gpu, None, (host("h"),), None)
    assert uncounted.scope is Scope.UNCOUNTED


def test_nodes_that_no_unit_is_on() -> None:
    wish = request("required:1", 0, 7)
    cause = shortfall(wish, record(unit(1, node=1)), record(unit(2, node=2)))
    assert cause.absent_nodes == {0, 7}
    assert cause.nodes == {1, 2}


def test_ids_that_no_unit_has() -> None:
    cause = shortfall(request("nic:1"), record(unit(1)), record(unit(2)))
    assert cause.items[0].units == 0
    assert cause.ids == ("10de:1430",)


AB = (host("a"), host("b"))


@pytest.mark.parametrize(
    ("wish", "units", "apart"),
    [
        ("gpu:2", (unit(1, host="a"), unit(1, host="b")), Apart.HOSTS),
        (
            "required:2",
            (unit(1, host="a"), unit(2, host="a", node=1)),
            Apart.NUMA,
        ),
        ("gpu:2", (unit(1, host="a"), unit(2, host="a")), Apart.NOTHING),
        # One card is both: it cannot count twice.
        ("gpu:1,any:1", (unit(1, host="a"),), Apart.SAME_FUNCTIONS),
    ],
)
def test_why_free_units_do_not_fit_together(
    wish: str, units: tuple[Unit, ...], apart: Apart
) -> None:
    records = [record(published) for published in units]
    assert shortfall(request(wish), *records, hosts=AB).apart is apart


def test_units_below_several_switches() -> None:
    apart = [
        record(unit(1, host="a", switch=1)),
        record(unit(2, host="a", node=1, switch=2)),
    ]
    wish = request("gpu:2", same_switch=True)
    assert shortfall(wish, *apart, hosts=AB).apart is Apart.SWITCH
    wish = request("required:2", same_switch=True)
    assert shortfall(wish, *apart, hosts=AB).apart is Apart.NUMA_AND_SWITCH


def test_the_host_that_comes_nearest() -> None:
    records = [
        record(unit(bus, host=name))
        for name, bus in (("a", 1), ("b", 1), ("b", 2))
    ]
    cause = shortfall(request("gpu:3"), *records, hosts=AB)
    assert (cause.apart, cause.most) == (Apart.HOSTS, ("b", 2))
    # Where even all hosts together have too few, each unit tells enough.
    assert shortfall(request("gpu:4"), *records, hosts=AB).apart is None


def test_what_a_cordoned_host_has_is_not_enough() -> None:
    cordoned = (host("a", cordoned="fans"),)
    free = record(unit(1, host="a"))
    cause = shortfall(request("gpu:1"), free, hosts=cordoned)
    assert (cause.apart, cause.items[0].free) == (None, 0)
