"""Hosts that other programs wrote down, with a part of what sysfs has."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.functions import (
    bridges,
    detail,
    functions,
)
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.formats import umockdev
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.reading import MISSING
from tests.trees import installed
from tests.trees.host import Host

PORT = "sys/devices/pci0000:00/0000:00:02.0"
MODALIAS = "pci:v000010DEd000015F8sv000010DEsd0000118Fbc03sc02i00\n"
# Of an LXD guest with a Tesla P100.  Source: jaypipes/ghw#383, #463.
GHW = {
    f"{PORT}/vendor": "0x8086\n",
    f"{PORT}/device": "0x2f04\n",
    f"{PORT}/class": "0x060400\n",
    f"{PORT}/0000:06:00.0/vendor": "0x10de\n",
    f"{PORT}/0000:06:00.0/device": "0x15f8\n",
    f"{PORT}/0000:06:00.0/class": "0x030200\n",
    f"{PORT}/0000:06:00.0/modalias": MODALIAS,
}


def tree(
    files: Mapping[str, str], links: Mapping[str, str] | None = None
) -> RecordedTree:
    """Return a host with these files, and its functions' links."""
    folders = {path.rpartition("/")[0] for path in files}
    on_bus = {
        f"sys/bus/pci/devices/{folder.rpartition('/')[2]}": (
            f"../../../{folder.removeprefix('sys/')}"
        )
        for folder in folders
    }
    contents = {path: text.encode() for path, text in files.items()}
    return RecordedTree(contents, {**on_bus, **(links or {})})


def snapshot() -> RecordedTree:
    driver = {
        f"{PORT}/0000:06:00.0/driver": "../../../../bus/pci/drivers/nvidia"
    }
    return tree(GHW, driver)


def test_a_snapshot_without_uevent() -> None:
    port, card = functions(snapshot())
    assert port.is_bridge
    assert (card.vendor_id, card.product_id) == (0x10DE, 0x15F8)
    assert (card.subsystem_vendor_id, card.subsystem_product_id) == (
        0x10DE,
        0x118F,
    )
    assert (card.class_code, card.driver) == (0x030200, "nvidia")
    assert card.modalias == MODALIAS.strip()
    # That no group, driver or console is in the snapshot says nothing.
    assert card.iommu_group == MISSING
    assert port.driver == MISSING
    display = card._replace(class_code=0x030000)
    assert detail(snapshot(), display).boot_vga == MISSING


def test_a_snapshot_is_recorded_whole() -> None:
    before = snapshot()
    again = recorded_tree.parse(installed.recorded(before), "again")
    assert functions(again) == functions(before)
    assert [str(f.address) for f in functions(again)] == [
        "0000:00:02.0",
        "0000:06:00.0",
    ]


def test_a_modalias_alone() -> None:
    """finit-project/finit#293."""
    (card,) = functions(tree({f"{PORT}/modalias": MODALIAS}))
    assert (card.vendor_id, card.product_id) == (0x10DE, 0x15F8)
    assert card.class_code == 0x030200
    assert card.iommu_group == MISSING


def test_a_uevent_alone() -> None:
    text = "DRIVER=b43\nPCI_CLASS=28000\nPCI_ID=14E4:4315\n"
    (card,) = functions(tree({f"{PORT}/uevent": text}))
    assert (card.vendor_id, card.product_id) == (0x14E4, 0x4315)
    assert (card.class_code, card.driver) == (0x028000, "b43")
    assert card.iommu_group == MISSING


def test_a_function_that_says_nothing() -> None:
    (card,) = functions(tree({f"{PORT}/config": ""}))
    assert card.vendor_id == card.class_code == card.driver == MISSING
    assert card.modalias == card.iommu_group == MISSING


def test_a_tree_whose_functions_would_be_lost_is_not_recorded() -> None:
    copied = RecordedTree(
        {"sys/bus/pci/devices/0000:06:00.0/vendor": b"0x10de\n"}, {}
    )
    assert functions(copied)[0].vendor_id == 0x10DE
    with pytest.raises(errors.ReadFailed, match=r"0000:06:00\.0"):
        installed.recorded(copied)


def test_an_export_of_udevadm() -> None:
    """martinpitt/umockdev#155: properties only."""
    text = b"""P: /devices/pci0000:00/0000:00:1c.0
E: SUBSYSTEM=pci
E: PCI_CLASS=60400
E: PCI_ID=8086:9D10
"""
    (port,) = functions(recorded_tree.parse(text + b"\n", "export"))
    assert (port.vendor_id, port.iommu_group) == (0x8086, MISSING)
    assert umockdev.parse(text + b"\n", "export")


def test_domains_of_five_digits_are_read_everywhere() -> None:
    """hertg/egpu-switcher#91: the disk of a VMD, and no eGPU."""
    host = Host()
    host.function("0000:00:02.0", "8086:9a49", "030000", driver="i915")
    host.function("0000:00:0e.0", "8086:9a0b", "010400", driver="vmd")
    host.function(
        "10000:e0:06.0", "8086:9a09", "060400", under="0000:00:0e.0",
        root_bus="10000:e0", below="10000:e1",
    )  # fmt: skip
    host.function(
        "10000:e1:00.0", "8086:f1aa", "010802", under="10000:e0:06.0",
        driver="nvme",
    )  # fmt: skip
    again = recorded_tree.parse(installed.recorded(host.tree()), "again")
    assert functions(again) == functions(host.tree())
    assert str(functions(again)[-1].address) == "10000:e1:00.0"
    assert address.parse("10000:e1:00.0") == functions(again)[-1].address


def test_a_root_bus_other_than_the_first() -> None:
    """Xilinx/open-nic#5: a card below pci0000:3a."""
    host = Host()
    host.function("0000:3a:00.0", "8086:2030", "060400", below="0000:3b")
    host.function(
        "0000:3b:00.0", "10ee:903f", "058000", under="0000:3a:00.0",
        driver="onic",
    )  # fmt: skip
    again = recorded_tree.parse(installed.recorded(host.tree()), "again")
    card = functions(again)[-1]
    assert (str(card.address), card.driver) == ("0000:3b:00.0", "onic")
    assert [str(b) for b in bridges(again, card)] == ["0000:3a:00.0"]
