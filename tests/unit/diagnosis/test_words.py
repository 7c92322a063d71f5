from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis.words import is_said, lacking


@pytest.mark.parametrize(
    ("line", "wanted", "said"),
    [
        ("quiet iommu=pt", "iommu=pt", True),
        ("xiommu=pt", "iommu=pt", False),
        ("iommu=pt,memaper", "iommu=pt", True),
        ("iommu=off", "iommu=pt", False),
        ("intel-iommu=on", "intel_iommu=on", True),
        ("intel_iommu", "intel_iommu=on", False),
        ("rd.driver.pre=a rd.driver.pre=vfio-pci b", "rd.driver.pre=a", True),
        ("vfio-pci.ids=1:2,3:4", "vfio_pci.ids=3:4,1:2", True),
        ("vfio-pci.ids=1:2 vfio-pci.ids=3:4", "vfio-pci.ids=1:2", False),
        ("quiet -- iommu=pt", "iommu=pt", False),
        ('"intel_iommu=on"', "intel_iommu=on", True),
        ("nomodeset", "nomodeset", True),
    ],
)
def test_whole_words(line: str, wanted: str, said: bool) -> None:
    assert is_said(line.split(), wanted) is said


def test_what_is_lacking() -> None:
    assert lacking(("a", "c=1"), ("a", "b", "c=2")) == ("b", "c=2")
