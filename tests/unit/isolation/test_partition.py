from __future__ import annotations

from gpu_passthrough_plugin.isolation import partition
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.function import Header
from gpu_passthrough_plugin.model.group import Role
from gpu_passthrough_plugin.model.reading import MISSING
from tests.unit.isolation.values import (
    GPUS,
    audio,
    detail,
    function,
    gpu,
    port,
)


def test_parts_come_by_number_then_address() -> None:
    found = partition.parts(
        [
            gpu("83:00.0", iommu_group=39),
            audio("05:00.0", iommu_group=None),
            gpu("06:00.0", iommu_group=18),
            audio("04:00.0", iommu_group=MISSING),
            audio("06:00.1", iommu_group=18),
        ],
        GPUS,
    )
    assert [(p.number, len(p.members)) for p in found] == [
        (18, 2), (39, 1), (None, 1), (None, 1),
    ]  # fmt: skip
    assert [str(p.members[0].address)[5:] for p in found] == [
        "06:00.0", "83:00.0", "04:00.0", "05:00.0",
    ]  # fmt: skip


def test_group_0_is_a_group() -> None:
    (part,) = partition.parts([gpu(iommu_group=0)], GPUS)
    assert part.number == 0


def test_a_bridge_is_never_a_primary() -> None:
    everything = Policy((selector.parse("*:*"),))
    (part,) = partition.parts([port(), gpu()], everything)
    assert [m.role for m in part.members] == [Role.BRIDGE, Role.PRIMARY]
    assert not everything.is_primary(port())


def test_the_header_decides_what_a_bridge_is() -> None:
    host_bridge = function("00:00.0", "8086:0e00", 0x060000)
    cases = (
        (port(), Header.BRIDGE, Role.BRIDGE),
        (port(), Header.ENDPOINT, Role.COMPANION),
        (port(), Header.DEAD, Role.BRIDGE),
        (port(), MISSING, Role.BRIDGE),
        (gpu(), Header.BRIDGE, Role.BRIDGE),
        (gpu(), Header.DEAD, Role.PRIMARY),
        (host_bridge, Header.ENDPOINT, Role.COMPANION),
    )
    for member, header, wanted in cases:
        (part,) = partition.parts([member], GPUS)
        read = {member.address: detail(member, header=header)}
        (found,) = partition.detailed(part, read).members
        assert found.role is wanted, (member.address, header)
        assert found.detail == read[member.address]


def test_a_member_that_was_not_read_keeps_its_role() -> None:
    (part,) = partition.parts([port(), gpu(), audio()], GPUS)
    assert partition.detailed(part, {}) == part


def test_a_function_of_an_unknown_group_may_be_in_any() -> None:
    stray, alone = (
        audio("04:00.0", iommu_group=MISSING),
        audio("05:00.0", iommu_group=None),
    )
    found = partition.parts([gpu(iommu_group=18), stray, alone], GPUS)
    assert [p.strays for p in found] == [(stray.address,), (), ()]
    assert partition.detailed(found[0], {}).strays == (stray.address,)


def test_an_accelerator_of_the_processor_is_selected_by_name_only() -> None:
    """Meteor Lake's NPU is of class 12 as well."""
    npu = function("00:0b.0", "8086:7d1d", 0x120000)
    card = function("29:00.0", "1da3:1021", 0x120000)
    for text, chosen in (
        ("class=12*", [card]),
        ("8086:*", [npu]),
        ("0000:00:0b.0", [npu]),
    ):
        policy = Policy((selector.parse(text),))
        assert [f for f in (npu, card) if policy.is_primary(f)] == chosen


def test_vgpus_come_to_their_functions() -> None:
    functions = [gpu(iommu_group=1), gpu("07:00.0", iommu_group=2)]
    read = [
        partition.detailed(part, {f.address: detail(f) for f in functions})
        for part in partition.parts(functions, GPUS)
    ]
    first, second = partition.with_mediated_devices(
        read, {functions[0].address: ("4b20d080",)}
    )
    assert first.members[0].detail is not None
    assert first.members[0].detail.mediated_devices == ("4b20d080",)
    assert second == read[1]


def test_neighbours_of_a_made_up_host_are_few() -> None:
    """All below one port: each would list all the others."""
    functions = [
        gpu(f"{bus:02x}:00.0", iommu_group=bus) for bus in range(1, 200)
    ]
    parts = [
        part._replace(
            members=tuple(
                m._replace(card=functions[0].address) for m in part.members
            )
        )
        for part in partition.parts(functions, GPUS)
    ]
    for part in partition.with_neighbours(parts):
        assert 0 < len(part.card_elsewhere) <= 32
