from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpu_passthrough_plugin.compute import reset
from gpu_passthrough_plugin.compute.reset import (
    BusReset,
    FunctionReset,
    HotReset,
    Neighbour,
    OwnResets,
)
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.function_health import (
    NO_LINK,
    FunctionHealth,
    Link,
    ResetState,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from gpu_passthrough_plugin.model.unit import Unit
from tests.golden import assert_golden, sections
from tests.unit.compute.build import unit

CARD = dataclasses.replace(unit("06:00.0*", "06:00.1"), iommu_group=18)
GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")
ITSELF = Identity(0x10DE, 0x1430)
FAST = Link(16.0, 16)
LOST = Unknown(Why.UNREADABLE, "Permission denied")


def own(methods: reset.Methods) -> OwnResets:
    return OwnResets(methods, has_reset=True)


def planned(gpu: reset.Methods, audio: reset.Methods) -> BusReset:
    (bus,) = reset.plan(CARD, {GPU: own(gpu), AUDIO: own(audio)})
    return bus


def test_functions_reset_alone_in_our_order_and_their_bus_last() -> None:
    """As gnif/vendor-reset asks for, whose method is ``device_specific``."""
    for gpu, audio, first, second in (
        (("flr",), ("flr", "bus"), ("flr",), ("flr",)),
        (
            ("flr", "device_specific", "pm", "bus"),
            ("pm", "af_flr"),
            ("device_specific", "flr", "pm"),
            ("af_flr", "pm"),
        ),
        (("acpi",), ("af_flr",), ("acpi",), ("af_flr",)),
    ):
        assert planned(gpu, audio) == BusReset(
            (FunctionReset(GPU, first), FunctionReset(AUDIO, second)),
            HotReset(GPU, 18),
        )


def test_a_bus_is_reset_once_when_one_on_it_cannot_reset_alone() -> None:
    """NVIDIA/open-gpu-kernel-modules#1353: ``bus`` of a card with siblings.

    The kernel listed it for function 0 before it had seen function 1, and
    refuses it.
    """
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
        assert planned(gpu, audio) == BusReset((), HotReset(GPU, 18)), (
            gpu,
            audio,
        )


def test_a_function_of_which_nothing_was_read_has_no_reset() -> None:
    hot = (BusReset((), HotReset(GPU, 18)),)
    assert reset.plan(CARD, {GPU: own(("flr",))}) == hot
    assert reset.plan(CARD, {}) == hot


def test_an_old_kernel_resets_in_its_own_order() -> None:
    """gnif/vendor-reset#46, #80: Linux before 5.15 has no reset_method."""
    both = {GPU: own(MISSING), AUDIO: own(MISSING)}
    (bus,) = reset.plan(CARD, both, tells_methods=False)
    assert bus.alone == (FunctionReset(GPU), FunctionReset(AUDIO))
    one = {GPU: own(MISSING), AUDIO: OwnResets(MISSING, has_reset=False)}
    (bus,) = reset.plan(CARD, one, tells_methods=False)
    assert bus == BusReset((), HotReset(GPU, 18))
    # It might take one that the card does not come back from.
    blackwell = accelerated(0x10DE, 0x2B85)
    (bus,) = reset.plan(blackwell, both, tells_methods=False)
    assert bus == BusReset((), HotReset(GPU, 18))


def test_a_family_takes_a_reset_out_of_the_order() -> None:
    methods = {GPU: own(("flr", "bus")), AUDIO: own(("flr",))}
    (bus,) = reset.plan(accelerated(0x10DE, 0x2B85), methods)
    assert bus == BusReset((), HotReset(GPU, 18))
    (bus,) = reset.plan(accelerated(0x10DE, 0x2342), methods)
    assert [r.methods for r in bus.alone] == [("flr",), ("flr",)]
    assert bus.hot is None and str(GPU) in bus.refusal
    # AMD's graphics do nothing at a reset by power management.
    power = {GPU: own(("pm",)), AUDIO: own(("pm",))}
    (bus,) = reset.plan(accelerated(0x1002, 0x744C), power)
    assert bus == BusReset((), HotReset(GPU, 18))


def test_a_bus_with_a_strangers_function_is_not_reset() -> None:
    """joeknock90/Single-GPU-Passthrough#103: group 19 as well."""
    stranger = Neighbour(address.parse("06:00.2"), 19, "xhci_hcd")
    below = {GPU: (stranger,), AUDIO: (stranger,)}
    resets = {GPU: own(("bus",)), AUDIO: own(MISSING)}
    (bus,) = reset.plan(CARD, resets, neighbours=below)
    assert (bus.alone, bus.hot) == ((), None)
    for datum in ("06:00.2", "group 19", "xhci_hcd"):
        assert datum in bus.refusal
    (bus,) = reset.plan(
        CARD, resets, neighbours=below, ours={stranger.address}
    )
    assert bus.hot == HotReset(GPU, 18, (19,))


def test_each_bus_is_looked_at_by_itself_and_buses_come_first() -> None:
    two = dataclasses.replace(
        unit("06:00.0*", "06:00.1", "07:00.0*", "0001:07:00.0"), iommu_group=7
    )
    resets = {
        GPU: own(("flr",)),
        AUDIO: own(("flr",)),
        address.parse("07:00.0"): own(("bus",)),
        address.parse("0001:07:00.0"): own(("flr",)),
    }
    buses = reset.plan(two, resets)
    assert buses[0] == BusReset((), HotReset(address.parse("07:00.0"), 7))
    assert [r.address for bus in buses for r in bus.alone] == [
        GPU,
        AUDIO,
        address.parse("0001:07:00.0"),
    ]


def test_cards_side_by_side_on_a_bus_share_its_reset() -> None:
    shared = dataclasses.replace(
        unit("06:01.0*", "06:01.1", "06:02.0*"), iommu_group=7
    )
    resets = {f.address: own(("bus",)) for f in shared.functions}
    assert reset.plan(shared, resets) == (
        BusReset((), HotReset(address.parse("06:01.0"), 7)),
    )


def state(
    bars: tuple[int, ...] | Unknown = (0xF000_0000, 0, 0, 0, 0, 0),
    link: Link = FAST,
) -> ResetState:
    health = FunctionHealth(link, None, "D0", None, False, None, None, None)
    return ResetState(bars, health)


def test_what_a_reset_damaged() -> None:
    before = {GPU: state(), AUDIO: state(link=NO_LINK)}
    assert reset.damages(before, before) == ()
    (line,) = reset.damages(before, before | {GPU: state((0,) * 6)})
    assert str(GPU) in line and "BARs" in line


def test_what_was_not_read_is_no_damage() -> None:
    before = {GPU: state()}
    assert reset.damages(before, {GPU: state(LOST)}) == ()
    assert reset.damages({GPU: state(LOST)}, before) == ()
    assert reset.damages(before, {}) == ()


def test_the_links_before_and_after() -> None:
    before = {GPU: state()}
    assert list(reset.links(before, {GPU: state(link=Link(2.5, 16))})) == [
        f"link of {GPU}: 2.5 GT/s x16 (was 16.0 GT/s x16)"
    ]
    assert list(reset.links(before, before)) == [
        f"link of {GPU}: 16.0 GT/s x16"
    ]
    assert list(reset.links({}, {GPU: state(link=Link(LOST, LOST))})) == [
        f"link of {GPU}: unknown speed unknown width"
    ]
    assert list(reset.links(before, {GPU: state(link=NO_LINK)})) == []


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
    below = {GPU: (Neighbour(address.parse("06:00.2"), 19, None),)}
    (refused,) = reset.plan(CARD, {}, neighbours=below)
    dead, other = Identity(0xFFFF, 0xFFFF), Identity(0x10DE, 0x1431)
    text = sections(
        {
            "resets": [
                FunctionReset(GPU, ("flr",)).title("flr"),
                FunctionReset(GPU).title(None),
                str(HotReset(GPU, 18)),
            ],
            "refused": [refused.refusal],
            "damaged": reset.damages(
                {GPU: state()}, {GPU: state((0,) * 6)}
            ),
            "not clean": [
                *faults(dead), *faults(other), *faults(MISSING),
                *reset.losses(accelerated(0x1002, 0x74A1)),
            ],
        }
    )  # fmt: skip
    assert_golden(Path(__file__).with_name("reset.txt"), text)
