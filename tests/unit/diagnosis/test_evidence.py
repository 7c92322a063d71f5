from __future__ import annotations

from gpu_passthrough_plugin.model import address
from tests.unit.diagnosis.build import UNGROUPED, card, case, member
from tests.unit.diagnosis.examples.group_peers import twin
from tests.unit.isolation.values import audio, gpu


def test_the_peers_of_a_function_without_a_group_are_its_card() -> None:
    other = member(gpu("82:00.0", iommu_group=None))
    alone = case(*UNGROUPED, other)
    assert [m.address for m in alone.peers] == [
        address.parse("06:00.0"),
        address.parse("06:00.1"),
    ]
    grouped = case(*card(), member(audio("07:00.1")), twin("nouveau"))
    assert len(grouped.peers) == 3
    assert alone._replace(member=None).peers == ()
