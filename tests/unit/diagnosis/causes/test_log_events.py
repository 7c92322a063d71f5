from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes import log_events
from tests.unit.diagnosis.build import bound, case, cause
from tests.unit.diagnosis.examples.log_events import (
    ATS,
    HERE,
    ITE,
    NO_SPACE,
    WAITS,
)


def test_a_timeout_that_names_no_function_is_only_possible() -> None:
    for line in (WAITS, ITE):
        found = cause(log_events.iommu_timeout, case(*bound(), log=(line,)))
        assert (found.confidence, found.evidence) == ("possible", line)
        assert HERE not in found.text


def test_the_last_line_counts() -> None:
    earlier = ATS.replace("06:00.0", "07:00.0")
    found = cause(log_events.iommu_timeout, case(*bound(), log=(ATS, earlier)))
    assert found.evidence == ATS


def test_memory_without_addresses() -> None:
    found = cause(log_events.bar_unassigned, case(*bound(), log=(NO_SPACE,)))
    assert "Above 4G" in found.fix
