from __future__ import annotations

import re

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0000:06:00.0", Address(0, 6, 0, 0)),
        ("06:00.1", Address(0, 6, 0, 1)),
        ("ffff:FF:1f.7", Address(0xFFFF, 0xFF, 0x1F, 7)),
        ("10000:e1:00.0", Address(0x10000, 0xE1, 0, 0)),
    ],
)
def test_parses_every_form(text: str, expected: Address) -> None:
    assert address.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "06:00", "06:00.8", "06:20.0", "0:06:00.0", "0000:6:00.0",
     "0000:06:00.0\n", " 06:00.0", "0000:06:00.0:", "0x00:06:00.0"],
)  # fmt: skip
def test_refuses_other_texts(text: str) -> None:
    with pytest.raises(errors.Invalid, match=re.escape(repr(text))):
        address.parse(text)


def test_prints_as_the_kernel_does() -> None:
    assert str(Address(0, 0x0A, 3, 0)) == "0000:0a:03.0"
    assert str(Address(0x10000, 0xE1, 0, 0)) == "10000:e1:00.0"


def test_orders_domains_by_number() -> None:
    wide, narrow = address.parse("10000:00:00.0"), Address(0xFFFF, 0, 0, 0)
    assert sorted([wide, narrow]) == [narrow, wide]


def test_a_card_is_its_functions_slot() -> None:
    assert Address(0, 6, 0, 1).slot_address == Address(0, 6, 0, 0).slot_address
    assert Address(0, 6, 1, 0).slot_address != Address(0, 6, 0, 0).slot_address
