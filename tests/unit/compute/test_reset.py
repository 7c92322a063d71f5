from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpu_passthrough_plugin.compute import reset
from gpu_passthrough_plugin.compute.reset import FunctionReset, HotReset
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from gpu_passthrough_plugin.model.unit import Unit
from tests.golden import assert_golden, sections
from tests.unit.compute.build import unit

CARD = dataclasses.replace(unit("06:00.0*", "06:00.1"), iommu_group=18)
GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")
ITSELF = Identity(0x10DE, 0x1430)
LOST = Unknown(Why.UNREADABLE, "Permission denied")


def test_functions_that_reset_alone_leave_their_bus_alone() -> None:
    for gpu, audio in (
        (("flr",), ("flr", "bus")),
        (("device_specific", "bus"), ("pm",)),
        (("acpi",), ("af_flr",)),
    ):
        assert reset.plan(CARD, {GPU: gpu, AUDIO: audio}) == (
            FunctionReset(GPU),
            FunctionReset(AUDIO),
        )


def test_a_bus_is_reset_once_when_one_on_it_cannot_reset_alone() -> None:
    once = (HotReset(GPU, 18),)
    for gpu, audio in (
        (("bus",), MISSING),
        (("bus",), ("bus",)),
        (("cxl_bus", "bus"), ("flr",)),
        (("flr",), ("bus",)),
        (("flr",), MISSING),
        (("flr",), LOST),
        (("flr",), ()),
        (MISSING, MISSING),
    ):
        assert reset.plan(CARD, {GPU: gpu, AUDIO: audio}) == once, (
            gpu,
            audio,
        )


def test_a_function_of_which_nothing_was_read_has_no_reset() -> None:
    assert reset.plan(CARD, {GPU: ("flr",)}) == (HotReset(GPU, 18),)
    assert reset.plan(CARD, {}) == (HotReset(GPU, 18),)


def test_each_bus_is_looked_at_by_itself_and_buses_come_first() -> None:
    two = dataclasses.replace(
        unit("06:00.0*", "06:00.1", "07:00.0*", "0001:07:00.0"), iommu_group=7
    )
    methods: dict[address.Address, reset.Methods] = {
        GPU: ("flr",),
        AUDIO: ("flr",),
        address.parse("07:00.0"): ("bus",),
        address.parse("0001:07:00.0"): ("flr",),
    }
    assert reset.plan(two, methods) == (
        HotReset(address.parse("07:00.0"), 7),
        FunctionReset(GPU),
        FunctionReset(AUDIO),
        FunctionReset(address.parse("0001:07:00.0")),
    )


def test_cards_side_by_side_on_a_bus_share_its_reset() -> None:
    shared = dataclasses.replace(
        unit("06:01.0*", "06:01.1", "06:02.0*"), iommu_group=7
    )
    methods: dict[address.Address, reset.Methods] = {
        f.address: ("bus",) for f in shared.functions
    }
    assert reset.plan(shared, methods) == (
        HotReset(address.parse("06:01.0"), 7),
    )


def faults(
    audio: Identity | Unknown, failures: tuple[str, ...] = ()
) -> tuple[str, ...]:
    return reset.faults(CARD, {GPU: ITSELF, AUDIO: audio}, failures)


def test_a_unit_that_answers_as_itself_is_clean() -> None:
    assert faults(ITSELF) == ()


def test_a_function_that_is_dead_changed_or_unread_is_not_clean() -> None:
    for identity, datum in (
        (Identity(0xFFFF, 0xFFFF), "ff"),
        (Identity(0xFFFF, 0x1430), "ff"),
        (Identity(0x10DE, 0x1431), "10de:1431"),
        (Identity(0x8086, 0x1430), "8086:1430"),
        (Identity(0, 0), "0000:0000"),
        (MISSING, "missing"),
        (Unknown(Why.UNREADABLE, "Input/output error"), "Input/output error"),
    ):
        (fault,) = faults(identity)
        assert str(AUDIO) in fault and datum in fault


def test_a_reset_that_failed_is_not_clean_whatever_answers() -> None:
    assert faults(ITSELF, ("bus reset failed",)) == ("bus reset failed",)
    assert len(faults(MISSING, ("bus reset failed",))) == 2


def accelerated(vendor_id: int, product_id: int) -> Unit:
    """The card with another primary."""
    first, second = CARD.functions
    other = dataclasses.replace(
        first, vendor_id=vendor_id, product_id=product_id
    )
    return dataclasses.replace(CARD, functions=(other, second))


@pytest.mark.parametrize(
    ("vendor_id", "product_id", "is_lost"),
    [
        (0x1002, 0x74A1, True),
        (0x1002, 0x75A3, True),
        # Its virtual functions, another card of the same vendor, and the
        # same product id of another vendor.
        (0x1002, 0x74B5, False),
        (0x1002, 0x7408, False),
        (0x10DE, 0x74A1, False),
    ],
)
def test_what_a_reset_leaves_dead(
    vendor_id: int, product_id: int, is_lost: bool
) -> None:
    lines = reset.losses(accelerated(vendor_id, product_id))
    assert [str(GPU) in line for line in lines] == [True] * is_lost


def test_golden() -> None:
    dead, other = Identity(0xFFFF, 0xFFFF), Identity(0x10DE, 0x1431)
    text = sections(
        {
            "resets": [str(FunctionReset(GPU)), str(HotReset(GPU, 18))],
            "not clean": [
                *faults(dead), *faults(other), *faults(MISSING),
                *reset.losses(accelerated(0x1002, 0x74A1)),
            ],
        }
    )  # fmt: skip
    assert_golden(Path(__file__).with_name("reset.txt"), text)
