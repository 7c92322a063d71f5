"""The table of reset faults, held against pci.ids."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from gpu_passthrough_plugin.model.function import AMD, INTEL, NVIDIA
from gpu_passthrough_plugin.model.reset_family import (
    FAMILIES,
    ResetFamily,
    distrusted,
    family,
    is_lost_by_reset,
)

# What pci.ids calls the devices of each row, by a word of its name.
CHIPS = {
    "MI300": r"Aqua Vanjaram",
    "Polaris": r"Ellesmere|Polaris|Baffin|Lexa|Vega (10|20)|Navi 1[024]|TDC",
    "MI100": r"Arcturus",
    "Renoir": r"Renoir|Cezanne|Phoenix|Raphael",
    "Navi 32": r"Navi 32",
    "GB202": r"GB202",
    "GH200": r"GH100",
    "630": r"Graphics 630",
}


def names_of(vendor_id: int) -> dict[int, str]:
    """The devices of a vendor in the pci.ids that the package brings."""
    data = resources.files("gpu_passthrough_plugin") / "data" / "pci.ids"
    text = data.read_bytes().decode(errors="replace")
    _, _, rest = text.partition(f"\n{vendor_id:04x}  ")
    own = re.split(r"\n(?=[0-9a-f]{4}  )", rest)[0]
    pairs = re.findall(r"^\t([0-9a-f]{4})  (.+)$", own, re.MULTILINE)
    return {int(number, 16): name for number, name in pairs}


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_each_row_names_devices_of_its_kind(row: ResetFamily) -> None:
    """Some ids are in the kernel's and vendor-reset's lists alone."""
    (chips,) = (c for word, c in CHIPS.items() if word in row.name)
    names = names_of(row.vendor_id)
    named = {i: names[i] for i in row.product_ids if i in names}
    assert named
    assert {n for n in named.values() if not re.search(chips, n)} == set()


def test_a_device_is_in_one_row() -> None:
    ids = [(r.vendor_id, i) for r in FAMILIES for i in r.product_ids]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("vendor_id", "product_id", "is_lost"),
    [
        # amd/MxGPU-Virtualization#25: MI300X and MI355X, not their virtual
        # functions, and not the MI210 whose id the report gives by mistake.
        (AMD, 0x74A1, True),
        (AMD, 0x75A3, True),
        (AMD, 0x74B5, False),
        (AMD, 0x740F, False),
        (AMD, 0x67DF, False),
        (NVIDIA, 0x74A1, False),
    ],
)
def test_what_works_once_a_boot(
    vendor_id: int, product_id: int, is_lost: bool
) -> None:
    assert is_lost_by_reset(vendor_id, product_id) is is_lost


def test_what_no_row_names_has_no_family() -> None:
    assert family(INTEL, 0x56A0) is None
    row = family(AMD, 0x67DF)
    assert row is not None and "vendor-reset" in row.remedy


def test_resets_that_are_not_used() -> None:
    """tinygrad#18199 (flr), quirk_nvidia_no_bus_reset, quirk_no_pm_reset."""
    assert distrusted(NVIDIA, 0x2B85, 0x030000) == {"flr"}
    assert "bus" in distrusted(NVIDIA, 0x2342, 0x030200)
    assert distrusted(NVIDIA, 0x2684, 0x030000) == frozenset()
    assert distrusted(AMD, 0x744C, 0x030000) == {"pm"}
    assert distrusted(AMD, 0x740F, 0x038000) == {"pm"}
    assert distrusted(AMD, 0xAB30, 0x040300) == frozenset()
