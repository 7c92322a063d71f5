from __future__ import annotations

from gpu_passthrough_plugin.isolation import units
from gpu_passthrough_plugin.model import address, selector
from gpu_passthrough_plugin.model.function import (
    PhysicalFunction,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.trait import ConfiguredTraits
from gpu_passthrough_plugin.model.unit import DeviceType, UnitFunction, UnitKey
from tests.unit.isolation.values import audio, facts, gpu, judged, port

LOST = Unknown(Why.MALFORMED, "x")


def test_two_cards_behind_a_bridge_are_one_unit() -> None:
    group = judged(
        port("05:00.0"),
        gpu("06:01.0"),
        audio("06:01.1"),
        gpu("06:02.0"),
        audio("06:02.1"),
    )
    assert group.verdict.is_assignable
    (note,) = group.verdict.notes
    assert note.startswith("2 primaries share the group")
    unit = units.unit("node-1", group, facts())
    assert unit.key == UnitKey("node-1", address.parse("06:01.0"))
    assert [str(f.address)[5:] for f in unit.functions] == [
        "06:01.0", "06:01.1", "06:02.0", "06:02.1",
    ]  # fmt: skip
    assert [f.is_primary for f in unit.functions] == [
        True, False, True, False,
    ]  # fmt: skip


def test_what_a_unit_says_of_a_group() -> None:
    ports = tuple(map(address.parse, ("00:02.0", "05:00.0", "06:08.0")))
    group = judged(
        gpu(numa_node=1, iommu_group=18),
        audio(numa_node=1, iommu_group=18),
        details={"06:00.0": {"bridges": ports}},
    )
    unit = units.unit("node-1", group, facts(sockets={0: 0, 1: 1}))
    assert (unit.iommu_group, unit.numa_node, unit.socket) == (18, 1, 1)
    assert unit.switch == ports[1]
    assert unit.functions[0] == UnitFunction(
        address.parse("06:00.0"), 0x10DE, 0x1430, 0x030000,
        DeviceType.PCI, True,
    )  # fmt: skip


def test_a_unit_has_the_traits_of_what_goes_to_the_guest() -> None:
    group = judged(port("05:00.0"), gpu("06:01.0"), audio("06:01.1"))
    given = [
        ConfiguredTraits(selector.parse(text), frozenset({name}))
        for text, name in (
            ("class=0403", "CUSTOM_SOUND"),
            ("class=0604", "CUSTOM_BRIDGE"),
        )
    ]
    unit = units.unit("node-1", group, facts(), given)
    assert unit.traits == {"CUSTOM_SOUND"}
    assert units.unit("node-1", group, facts()).traits == frozenset()


def test_a_unit_whose_node_or_socket_is_not_known() -> None:
    for node, sockets, wanted in (
        (None, {0: 0}, (None, None)),
        (3, {0: 0}, (3, None)),
        (0, LOST, (0, None)),
        (LOST, {0: 0}, (None, None)),
    ):
        group = judged(gpu(numa_node=node))
        unit = units.unit("node-1", group, facts(sockets=sockets))
        assert (unit.numa_node, unit.socket) == wanted
        assert unit.switch is None
    assert judged(gpu(numa_node=LOST)).verdict.notes == (
        "the NUMA node of 0000:06:00.0 is unknown: malformed (x)",
    )


def test_device_types_are_novas() -> None:
    for role, wanted in (
        (None, DeviceType.PCI),
        (PhysicalFunction(16, 0), DeviceType.PF),
        (PhysicalFunction(0, 0), DeviceType.PCI),
        (VirtualFunction(address.parse("06:00.4")), DeviceType.VF),
    ):
        group = judged(gpu(), details={"06:00.0": {"sriov": role}})
        unit = units.unit("node-1", group, facts())
        assert unit.functions[0].device_type is wanted
