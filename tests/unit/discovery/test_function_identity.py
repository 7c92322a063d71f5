"""Ids of functions are hexadecimal numbers of their size, or unknown."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery import function_identity
from gpu_passthrough_plugin.discovery.function_identity import Identity
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

FOLDER = "sys/bus/pci/devices/0000:06:00.0"


def identity(uevent: str | None = None, **files: str) -> Identity:
    contents = {
        f"{FOLDER}/{name}": f"{text}\n".encode()
        for name, text in files.items()
    }
    return function_identity.identity(
        RecordedTree(contents, {}),
        FOLDER,
        MISSING if uevent is None else uevent.encode(),
    )


# int() takes most of these.
ODD = ("-5", "1_0", " 10DE", "0xg", "10DE1", "+1", "\u0661", "", "0x")


@pytest.mark.parametrize("text", ODD)
def test_ids_that_no_kernel_writes(text: str) -> None:
    odd = identity(f"PCI_CLASS=3_0000\nPCI_ID={text}:1430\n")
    assert isinstance(odd.vendor_id, Unknown)
    assert odd.vendor_id.why is Why.MALFORMED
    assert odd.product_id == 0x1430
    assert odd.class_code == Unknown(Why.MALFORMED, "3_0000")
    odd = identity(f"PCI_CLASS=30000\nPCI_ID=10DE:{text}\n")
    assert (odd.vendor_id, odd.class_code) == (0x10DE, 0x030000)
    assert isinstance(odd.product_id, Unknown)
    odd = identity(vendor=text, device="0x1430")
    assert isinstance(odd.vendor_id, Unknown)
    assert odd.product_id == 0x1430


@pytest.mark.parametrize("text", ["10DE", "x", ""])
def test_a_pair_without_a_colon(text: str) -> None:
    odd = identity(f"PCI_ID=10DE:1430\nPCI_SUBSYS_ID={text}\n")
    wanted = Unknown(Why.MALFORMED, text)
    assert odd.subsystem_vendor_id == odd.subsystem_product_id == wanted
    assert identity("PCI_ID=10DE:1430\n").subsystem_vendor_id is MISSING


def test_ids_as_the_kernel_writes_them() -> None:
    assert identity("PCI_ID=8086:0A54\n").product_id == 0x0A54
    read = identity(vendor="0x8086", device="0x0a54")
    assert (read.vendor_id, read.product_id) == (0x8086, 0x0A54)
    assert identity(**{"class": "0x010802"}).class_code == 0x010802
    assert isinstance(identity(**{"class": "0x1010802"}).class_code, Unknown)
    alias = "pci:v000010DEd00001430sv00000000sd00000000bc03sc02i00"
    read = identity(modalias=alias)
    assert (read.vendor_id, read.subsystem_vendor_id) == (0x10DE, 0)
    assert read.class_code == 0x030200
    wide = alias.replace("v000010DE", "v000110DE")
    assert isinstance(identity(modalias=wide).vendor_id, Unknown)
