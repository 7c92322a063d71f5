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
