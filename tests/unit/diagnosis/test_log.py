from __future__ import annotations

from gpu_passthrough_plugin.diagnosis import log
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.reading import MISSING
from tests.unit.diagnosis.build import case, evidence

GPU = address.parse("06:00.0")


def test_lines_that_name_a_function() -> None:
    lines = (
        "vfio-pci 0000:06:00.0: enabling device",
        "vfio-pci: probe of 0000:06:00.0 failed with error -22",
        "vfio-pci 10000:06:00.0: enabling device",
        "vfio-pci 0000:06:00.1: enabling device",
        "nouveau 0000:06:00.0",
    )
    assert list(log.of(evidence(log=lines), GPU)) == [
        lines[0],
        lines[1],
        lines[4],
    ]
    assert log.lines(evidence(log=MISSING)) == ()


def test_how_kernels_say_that_vfio_pci_gave_up() -> None:
    for line in (
        "vfio-pci: probe of 0000:06:00.0 failed with error -22",
        "vfio-pci 0000:06:00.0: probe with driver vfio-pci failed with error"
        " -22",
    ):
        assert log.refusal(case(log=(line,))) == line
    other = "nouveau: probe of 0000:06:00.0 failed with error -22"
    assert log.refusal(case(log=(other,))) is None


def test_that_it_was_asked_for_is_not_heard() -> None:
    said = ("DMAR: IOMMU enabled", "DMAR: Host address width 46")
    assert log.lines(evidence(log=said)) == said[1:]
    assert log.first(evidence(log=said), "dmar") == said[1]
