"""Which functions a selector names, and which texts are none."""

from __future__ import annotations

import re

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address, selector
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.reading import MISSING

CARD = Function(
    address=address.parse("0000:06:00.0"),
    vendor_id=0x10DE,
    product_id=0x1430,
    subsystem_vendor_id=0x10DE,
    subsystem_product_id=0x1190,
    class_code=0x030200,
    driver=None,
    iommu_group=18,
    numa_node=None,
    modalias="",
    is_bridge=False,
)
FAR = CARD._replace(address=address.parse("10000:e1:00.0"))


@pytest.mark.parametrize(
    "text",
    [
        "10de:1430",
        "10DE:1430",
        " 10de:1430 ",
        "10de:*",
        "*:1430",
        "*:*",
        "10de:14??",
        "1*:*0",
        "class=03",
        "class=0302",
        "class=030200",
        "class=03*",
        "class=03??",
        "class=*00",
        "CLASS=0302",
        "0000:06:00.0",
        "06:00.0",
        "00000000:06:00.0",
        "0000:06:00.*",
        "*:06:*.?",
        "0x10de:0x1430",
        "10de:0x14*",
        "class=0x0302",
        "0000:06:00",
        "06:00",
    ],
)
def test_names_the_card(text: str) -> None:
    assert selector.parse(text).matches(CARD)


@pytest.mark.parametrize(
    "text",
    [
        "10de:0fba",
        "1002:*",
        "*:144?",
        "class=0300",
        "class=030000",
        "class=04*",
        "class=*01",
        "0000:06:00.1",
        "0001:06:00.0",
        "0a:00.*",
        "0a:00",
        "0001:06:00",
        "0000:06:01",
        "1*:06:00.0",
    ],
)
def test_does_not_name_the_card(text: str) -> None:
    assert not selector.parse(text).matches(CARD)


@pytest.mark.parametrize(
    "text", ["10000:e1:00.0", "*:e1:*.*", "?????:e1:00.0"]
)
def test_names_a_function_of_a_wide_domain(text: str) -> None:
    assert selector.parse(text).matches(FAR)


def test_an_address_without_domain_is_in_domain_0() -> None:
    assert not selector.parse("e1:00.0").matches(FAR)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "nvidia",
        "10de",
        "10de:",
        ":1430",
        "10de:1430:1",
        "0x",
        "00x10de:1430",
        "??:??",
        "10de:143",
        "10de:14300*",
        "10dg:1430",
        "class=",
        "class=3",
        "class=0302000",
        "class=VGA",
        "06:0",
        "0:06:00",
        "06:00.8",
        "6:0.0",
        "000:06:00.0",
        "0000:06:00.0.0",
        "[0-9]*:*",
    ],
)
def test_refuses_other_texts(text: str) -> None:
    with pytest.raises(errors.Invalid, match=re.escape(repr(text))):
        selector.parse(text)


def test_ids_that_are_unknown_match_nothing() -> None:
    dead = CARD._replace(vendor_id=MISSING, class_code=MISSING)
    assert not selector.parse("*:*").matches(dead)
    assert not selector.parse("class=*").matches(dead)
    assert selector.parse("06:00.0").matches(dead)


def test_keeps_the_operators_text() -> None:
    assert selector.parse(" class=03* ").text == "class=03*"


def test_a_group_is_as_far_as_its_last_function() -> None:
    states = selector.SelectionState
    assert states.least([]) is states.NOT_SELECTED
    mixed = [states.ACTIVE, states.PENDING, states.NOT_SELECTED]
    assert states.least(mixed) is states.PENDING
