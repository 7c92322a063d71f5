from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import vfio_pci_ids
from gpu_passthrough_plugin.formats.vfio_pci_ids import IdList, VfioPciId
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.diagnosis.build import found
from tests.unit.isolation.values import gpu, port


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("10de:1430", VfioPciId(0x10DE, 0x1430)),
        ("10DE:1430:10de:1190", VfioPciId(0x10DE, 0x1430, 0x10DE, 0x1190)),
        ("0x10de:0x1430", VfioPciId(0x10DE, 0x1430)),
        (
            "1:2:ffffffff:ffffffff:030000:ff0000",
            VfioPciId(1, 2, class_code=0x30000, class_mask=0xFF0000),
        ),
        ("10de", None),
        ("", None),
        ("10de:", None),
        ("10de:14_30", None),
        ("1:2:3:4:5:6:7", None),
        ("nvidia", None),
    ],
)
def test_an_entry_of_ids(text: str, entry: VfioPciId | None) -> None:
    assert vfio_pci_ids.parse(text) == entry


def test_what_an_entry_matches() -> None:
    card = gpu()
    vendor, device = card.vendor_id, card.product_id
    assert isinstance(vendor, int)
    assert isinstance(device, int)
    assert VfioPciId(vendor, device).matches(card)
    assert VfioPciId(vendor, 0xFFFFFFFF).matches(card)
    assert not VfioPciId(vendor, device ^ 1).matches(card)
    assert VfioPciId(vendor, device, 0, 0, 0x30000, 0xFF0000).matches(
        gpu(subsystem_vendor_id=0, subsystem_product_id=0)
    )
    assert not VfioPciId(
        vendor, device, class_code=0x40000, class_mask=0xFF0000
    ).matches(card)
    lost = Unknown(Why.UNREADABLE, "x")
    assert VfioPciId(1, 2).matches(gpu(vendor_id=lost, product_id=lost))
    bridge = port()
    assert not VfioPciId(0xFFFFFFFF, 0xFFFFFFFF).matches(bridge)


@pytest.mark.parametrize(
    ("ids", "covered"),
    [
        ("10de:1430", True),
        ("10de:ffffffff", True),
        ("10de:1431", False),
        ("1002:ffffffff", False),
        ("rubbish", False),
    ],
)
def test_what_a_list_covers(ids: str, covered: bool) -> None:
    assert IdList((ids,), "").covers("10de:1430") is covered


def test_lists_in_files_and_on_the_command_line() -> None:
    files = {
        "/etc/modprobe.d/vfio.conf": "options vfio-pci"
        " ids=10DE:1430:10de:1190,10de:0fba disable_vga=1\n"
    }
    (listed,) = vfio_pci_ids.from_modprobe(found(files))
    assert listed.models == ("10de:1430", "10de:0fba")
    assert listed.path == "/etc/modprobe.d/vfio.conf"
    assert listed.source.startswith("/etc/modprobe.d/vfio.conf:1: options")
    (told,) = vfio_pci_ids.from_cmdline(["quiet", "vfio-pci.ids=1:2,,3:4"])
    assert told.ids == ("1:2", "3:4")
    assert told.source == "/proc/cmdline: vfio-pci.ids=1:2,,3:4"


def test_what_vfio_pci_logged() -> None:
    log = (
        "vfio_pci: add [10de:1430[ffff:ffff]] class 0x000000/00000000",
        "vfio_pci: add [10de:0fba[ffffffff:ffffffff]] class 0x000000/00000000",
    )
    assert vfio_pci_ids.from_log(log) == IdList(
        ("10de:1430", "10de:0fba"), log[0]
    )
    assert vfio_pci_ids.from_log(("vfio_pci: add",)) is None


def test_words_that_were_meant_to_be_ids() -> None:
    words = ("quiet", "vfio-pci-ids=8086:9a49", "vfio-pci.ids=1:2", "ids=1:2")
    assert vfio_pci_ids.misspelt(words) == ("vfio-pci-ids=8086:9a49",)
