from __future__ import annotations

from pathlib import Path

from gpu_passthrough_plugin.discovery import iommu_groups
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.model.group import GroupAttributes, ReservedRegion
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why


def read(root: Path, **files: str) -> GroupAttributes:
    folder = root / "sys/kernel/iommu_groups/38"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return iommu_groups.attributes(HostTree(str(root)), 38)


def test_a_kernel_that_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == GroupAttributes(None, MISSING)


def test_name_and_regions(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        name="vfio-noiommu\n",
        reserved_regions=(
            "0x00000000f5c83000 0x00000000f5ffffff direct\n"
            "0x00000000fee00000 0x00000000feefffff msi\n"
        ),
    )
    assert found == GroupAttributes(
        "vfio-noiommu",
        (
            ReservedRegion(0xF5C83000, 0xF5FFFFFF, "direct"),
            ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi"),
        ),
    )


def test_a_region_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    regions = read(tmp_path, reserved_regions="direct\n").reserved_regions
    assert isinstance(regions, Unknown)
    assert (regions.why, regions.detail) == (Why.MALFORMED, "direct")
