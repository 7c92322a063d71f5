"""Which devices for one use are given back, and why others are not."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.one_time_use import Amounts, PciProvider
from gpu_passthrough_plugin.nova.recycling import Waiting, waiting
from tests.unit.allocation.build import GPU, NIC, unit

UNIT = unit(1, GPU, NIC)
FIRST, SECOND = (function.address for function in UNIT.functions[:2])


def provider(
    place: address.Address = FIRST,
    reserved: int = 1,
    *,
    is_one_time: bool = True,
    consumers: tuple[str, ...] = (),
) -> PciProvider:
    return PciProvider(
        f"uuid of {place}",
        f"host_{place}",
        place,
        7,
        is_one_time,
        (Amounts("CUSTOM_PCI_10DE_1430", 1, reserved),),
        consumers,
    )


def only(*providers: PciProvider) -> Waiting:
    (found,) = waiting(providers, [UNIT])
    return found


def test_what_is_reserved_and_nobodys_waits() -> None:
    assert only(provider()) == Waiting((provider(),), UNIT)
    both = (provider(), provider(SECOND))
    assert only(*both) == Waiting(both, UNIT)


def test_what_does_not_wait() -> None:
    for other in (
        provider(reserved=0),
        provider(is_one_time=False),
        provider(consumers=("one",)),
        dataclasses.replace(provider(), inventories=()),
        dataclasses.replace(provider(), inventories=(Amounts("A", 0, 0),)),
    ):
        assert waiting([other], [UNIT]) == ()


def test_a_group_of_which_somebody_has_or_may_get_a_part() -> None:
    held = only(provider(), provider(SECOND, consumers=("one", "two")))
    assert held.providers == (provider(),)
    assert held.why_left.endswith("is allocated to one, two")
    offered = only(provider(), provider(SECOND, 0, is_one_time=False))
    assert "is offered by Placement" in offered.why_left


def test_a_reservation_by_the_operator_keeps_nothing_from_being_cleaned() -> (
    None
):
    """It stays reserved: only what is for one use is given back."""
    found = only(provider(), provider(SECOND, is_one_time=False))
    assert found == Waiting((provider(),), UNIT)


def test_a_device_that_is_in_no_unit() -> None:
    place = address.parse("0000:99:00.0")
    found = only(provider(place))
    assert found.unit is None
    assert found.why_left.startswith("this host has no assignable")
