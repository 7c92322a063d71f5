"""Functions on a device's path."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import sysfs_path


@pytest.mark.parametrize(
    ("path", "functions", "endpoints"),
    [
        ("sys/devices/virtual/net/lo", [], []),
        (
            "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0",
            ["0000:00:01.0", "0000:01:00.0"],
            ["0000:01:00.0"],
        ),
        # Intel's VMD has a hierarchy of its own below it.
        (
            "sys/devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0"
            "/10000:e1:00.0/nvme/nvme0",
            ["0000:00:0e.0", "10000:e0:06.0", "10000:e1:00.0"],
            ["0000:00:0e.0", "10000:e1:00.0"],
        ),
    ],
)
def test_functions_and_endpoints(
    path: str, functions: list[str], endpoints: list[str]
) -> None:
    assert list(map(str, sysfs_path.functions(path))) == functions
    assert list(map(str, sysfs_path.endpoints(path))) == endpoints
