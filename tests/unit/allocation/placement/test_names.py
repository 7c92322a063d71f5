"""Units as traits: what is printed is what is read."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.allocation.placement import names
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
    UnitKey,
)
from tests.unit.allocation.build import request, unit

TRAIT = re.compile(r"[A-Z0-9_]{1,255}")
ADDRESSES = st.builds(
    Address,
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFF),
    st.integers(0, 0x1F),
    st.integers(0, 7),
)
FUNCTIONS = st.builds(
    UnitFunction,
    ADDRESSES,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFF),
    st.sampled_from(DeviceType),
    st.booleans(),
)


@st.composite
def units(draw: st.DrawFn) -> Unit:
    functions = draw(
        st.lists(FUNCTIONS, min_size=1, unique_by=lambda f: f.address)
    )
    functions.sort(key=lambda f: f.address)
    first = draw(st.integers(0, len(functions) - 1))
    shown = tuple(
        dataclasses.replace(f, is_primary=n == first or f.is_primary)
        for n, f in enumerate(functions)
    )
    primary = next(f.address for f in shown if f.is_primary)
    return Unit(
        key=UnitKey("h", primary),
        iommu_group=draw(st.integers(0, 9999)),
        functions=shown,
        numa_node=draw(st.none() | st.integers(0, 63)),
        socket=draw(st.none() | st.integers(0, 7)),
        switch=draw(st.none() | ADDRESSES),
        traits=draw(
            st.frozensets(
                st.sampled_from(["CUSTOM_GOLD", "HW_GPU_API_VULKAN"])
            )
        ),
    )


@given(units(), st.text(max_size=700))
def test_traits_tell_the_unit_and_the_reason(found: Unit, reason: str) -> None:
    traits = names.unit_traits(found, reason)
    assert names.unit_in("h", traits) == found
    assert names.text_in(names.QUARANTINE_REASON, traits) == reason
    assert all(TRAIT.fullmatch(trait) for trait in traits)


@given(st.frozensets(st.text(min_size=1, max_size=300), max_size=4))
def test_texts_are_kept_apart(texts: frozenset[str]) -> None:
    assert (
        set(names.texts_in("WORD", names.text_traits("WORD", texts))) == texts
    )


def test_what_is_no_unit_is_none() -> None:
    traits = names.unit_traits(unit(1))
    assert names.unit_in("h", {names.UNIT_TRAIT}) is None
    assert names.unit_in("h", {t for t in traits if "GROUP" not in t}) is None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("h_0000:0A:00.0", UnitKey("h", Address(0, 0xA, 0, 0))),
        ("a_b_10000:01:1F.7", UnitKey("a_b", Address(65536, 1, 31, 7))),
        ("h", None),
        ("h_gpu-passthrough", None),
    ],
)
def test_names_of_providers(name: str, key: UnitKey | None) -> None:
    assert names.unit_key_in(name) == key
    if key is not None:
        assert names.unit_provider(key) == name


def test_an_aggregate_that_is_a_uuid_is_its_own() -> None:
    own = "11111111-2222-4333-8444-555555555555"
    assert names.aggregate(own) == own
    assert names.aggregate("rack") == names.aggregate("rack") != "rack"


def test_what_was_asked_for_is_compared_whatever_its_order() -> None:
    asked = names.user_id(request("gpu:2,nic:1", 1, 0))
    assert asked == "gpu:2,nic:1; nodes 0,1"
    assert names.request_in(asked) == "gpu:2,nic:1"
    assert names.is_same_request(asked, request("nic:1,gpu:2", 0, 1))
    assert not names.is_same_request(asked, request("nic:1,gpu:2"))
    with_terms = dataclasses.replace(
        request("gpu:2,nic:1", 0, 1),
        same_switch=True,
        forbidden_traits=frozenset({"CUSTOM_B", "CUSTOM_A"}),
    )
    assert names.user_id(with_terms).endswith(
        "; same switch; not CUSTOM_A; not CUSTOM_B"
    )
    assert not names.is_same_request(asked, with_terms)
