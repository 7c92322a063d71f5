from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address

ADDRESSES = st.builds(
    Address,
    st.integers(0, 0xFFFF_FFFF),
    st.integers(0, 0xFF),
    st.integers(0, 0x1F),
    st.integers(0, 7),
)


@given(ADDRESSES)
def test_what_is_printed_parses_back(one: Address) -> None:
    assert address.parse(str(one)) == one
    assert address.parse(str(one).upper()) == one


@given(ADDRESSES)
def test_domain_zero_may_be_left_out(one: Address) -> None:
    near = one._replace(domain=0)
    assert address.parse(str(near).partition(":")[2]) == near


@given(ADDRESSES, ADDRESSES)
def test_cards_are_equal_when_all_but_the_function_is(
    one: Address, other: Address
) -> None:
    assert (one.slot_address == other.slot_address) == (one[:3] == other[:3])
