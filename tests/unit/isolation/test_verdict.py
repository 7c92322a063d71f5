"""The notes on a group that can be assigned."""

from __future__ import annotations

from gpu_passthrough_plugin.isolation import partition, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import address, selector
from gpu_passthrough_plugin.model.reading import MISSING
from tests.unit.isolation.values import (
    GPUS,
    audio,
    detail,
    facts,
    function,
    gpu,
    judged,
)

GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")


def test_what_is_reset_along_is_told() -> None:
    """Single-GPU-Passthrough#103: display and audio in two groups."""
    functions = [gpu(iommu_group=13), audio(iommu_group=14, driver="snd")]
    for methods, is_told in (
        (("bus",), True),
        (("flr", "bus"), False),
        ((), False),
        (MISSING, False),
    ):
        first, second = partition.parts(functions, GPUS)
        first = partition.detailed(
            first, {GPU: detail(functions[0], reset_methods=methods)}
        )
        first, second = partition.with_neighbours((first, second))
        assert first.reset_with == ((functions[1],) if is_told else ())
        assert second.reset_with == ()
        notes = "\n".join(verdict.judge(first, facts(), GPUS).verdict.notes)
        assert str(AUDIO) in notes
        assert ("resets 0000:06:00.1" in notes) == is_told


def test_a_card_that_a_reset_kills_is_told() -> None:
    policy = Policy((selector.parse("class=12*"),))
    mi300x = function("05:00.0", "1002:74a1", 0x120000)
    (note,) = judged(mi300x, policy=policy).verdict.notes
    assert "until the host reboots" in note
    virtual = function("05:02.0", "1002:74b5", 0x120000)
    assert judged(virtual, policy=policy).verdict.notes == ()


# Boards as public reports list them: address, class, ids of each function.
HGX_H200 = (
    *((f"{bus}:00.0", 0x030200, "10de:2335") for bus in
      ("18", "2a", "3a", "5d", "9a", "ab", "ba", "db")),
    *((f"0{bus}:00.0", 0x068000, "10de:22a3") for bus in "5678"),
)  # fmt: skip
DGX_A100 = (
    *((f"{bus}:00.0", 0x030200, "10de:20b0") for bus in
      ("07", "0f", "47", "4e", "87", "90", "b7", "bd")),
    *((f"{bus}:00.0", 0x068000, "10de:1af1") for bus in
      ("c4", "c5", "c6", "c7", "c8", "c9")),
)  # fmt: skip


def test_gpus_on_an_nvlink_fabric_are_told_so() -> None:
    """cubecos#259 (all switches in one group), and a DGX A100."""
    for board, count in ((HGX_H200, 4), (DGX_A100, 6)):
        functions = [
            function(place, ids, code, iommu_group=number)
            for number, (place, code, ids) in enumerate(board)
        ]
        parts = partition.with_neighbours(partition.parts(functions, GPUS))
        for part in parts:
            notes = verdict.judge(part, facts(), GPUS).verdict.notes
            is_told = any(
                "NVSwitches" in note and note.count(":00.0") == count
                for note in notes
            )
            assert is_told == part.has_primary
            if not part.has_primary:
                (reason,) = verdict.judge(part, facts(), GPUS).verdict.reasons
                assert f"{count} NVSwitches" in reason.text
                assert "8 GPUs" in reason.text


def test_cards_without_nvswitches_have_no_fabric() -> None:
    functions = [
        function("18:00.0", "10de:2331", 0x030200, iommu_group=1),
        function("2a:00.0", "10de:2331", 0x030200, iommu_group=2),
    ]
    for part in partition.with_neighbours(partition.parts(functions, GPUS)):
        assert verdict.judge(part, facts(), GPUS).verdict.notes == ()
