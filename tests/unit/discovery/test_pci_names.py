from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin.discovery.functions import functions
from gpu_passthrough_plugin.discovery.pci_names import Names
from gpu_passthrough_plugin.model.reading import MISSING
from tests.trees.host import Host

IDS = """#
# comment
10de  Vendor One
\t1430  Card [A]
\t\tfff2 8583  Subsystem
# comment
\t0fba  Audio é
10df  Vendor Two
\tfff1  Other

C 03  Display controller
\t00  VGA compatible controller
\t\t00  VGA controller
\t02  3D controller
C 10  Encryption controller
"""


@pytest.fixture
def names(tmp_path: Path) -> Names:
    file = tmp_path / "pci.ids"
    file.write_text(IDS, encoding="utf-8")
    return Names([str(tmp_path / "none"), str(tmp_path), str(file)])


def test_names_by_id(names: Names) -> None:
    assert names.vendor(0x10DE) == "Vendor One"
    assert names.device(0x10DE, 0x1430) == "Card [A]"
    assert names.device(0x10DE, 0x0FBA) == "Audio é"
    assert names.class_of(0x030000) == "VGA compatible controller"
    assert names.class_of(0x030200) == "3D controller"


def test_a_subclass_without_a_name_has_its_base_classs(names: Names) -> None:
    assert names.class_of(0x03FF00) == "Display controller"


def test_neither_subsystems_nor_neighbours_count(names: Names) -> None:
    assert names.device(0x10DE, 0xFFF2) is None
    assert names.device(0x10DE, 0xFFF1) is None


def test_the_packaged_names_fill_in(names: Names) -> None:
    assert names.vendor(0x8086) == "Intel Corporation"
    assert names.device(0x10DE, 0x1B80) == "GP104 [GeForce GTX 1080]"
    assert names.class_of(0x120000) == "Processing accelerators"
    assert names.vendor(0xFFF9) is None
    assert names.class_of(0xF00000) is None


def test_a_functions_name(names: Names) -> None:
    host = Host()
    host.function("0000:01:00.0", "10de:1430", "030000")
    host.function("0000:02:00.0", "10de:fff3", "030000")
    host.function("0000:03:00.0", "fff9:0001", "030000")
    found = functions(host.tree())
    assert [names.function(function) for function in found] == [
        "Vendor One Card [A]",
        "Vendor One Device fff3",
        "Vendor fff9 Device 0001",
    ]
    unread = found[0]._replace(vendor_id=MISSING)
    assert names.function(unread) == ""
