from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes import log_events
from tests.unit.diagnosis.build import bound, case, cause, confidence
from tests.unit.diagnosis.examples.log_events import (
    AER,
    ATS,
    HERE,
    ITE,
    NO_SPACE,
    RECOVERED,
    WAITS,
)


def test_a_timeout_that_names_no_function_is_only_possible() -> None:
    for line in (WAITS, ITE):
        found = cause(log_events.iommu_timeout, case(*bound(), log=(line,)))
        assert (found.confidence, found.evidence) == ("possible", line)
        assert HERE not in found.text


def test_a_link_recovers_only_after_its_error() -> None:
    """The port's and the function's messages count in their own order."""
    port = AER.replace(HERE, "0000:00:02.0")
    for log, is_error in (
        ((port, RECOVERED), False),
        ((RECOVERED, port), True),
        ((RECOVERED.replace(HERE, "0000:00:02.0"), AER), True),
    ):
        sure = confidence(log_events.pcie_error, case(*bound(), log=log))
        assert bool(sure) is is_error, log


def test_the_last_line_counts() -> None:
    earlier = ATS.replace("06:00.0", "07:00.0")
    found = cause(log_events.iommu_timeout, case(*bound(), log=(ATS, earlier)))
    assert found.evidence == ATS


def test_memory_without_addresses() -> None:
    found = cause(log_events.bar_unassigned, case(*bound(), log=(NO_SPACE,)))
    assert "Above 4G" in found.fix
