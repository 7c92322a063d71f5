from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes import device_missing
from tests.unit.diagnosis.build import bound, case, confidence
from tests.unit.diagnosis.examples.device_missing import ASLEEP


def test_how_sure_a_sleep_is() -> None:
    assert confidence(device_missing.d3cold, case(log=(ASLEEP,))) == "likely"
    assert (
        confidence(device_missing.d3cold, case(*bound(), log=(ASLEEP,)))
        == "possible"
    )
