"""Hosts, units and requests as Placement stores them, and back."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import names
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
    UnitKey,
)
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import GPU, NIC, request, unit

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
CONDITIONS = dataclasses.replace(
    request("gpu:2,nic:1", 0, 1),
    same_switch=True,
    forbidden_traits=frozenset({"CUSTOM_B", "CUSTOM_A"}),
)


@st.composite
def units(draw: st.DrawFn) -> Unit:
    functions = draw(
        st.lists(FUNCTIONS, min_size=1, unique_by=lambda f: f.address)
    )
    functions.sort(key=lambda f: f.address)
    first = draw(st.integers(0, len(functions) - 1))
    endpoints = tuple(
        dataclasses.replace(f, is_primary=n == first or f.is_primary)
        for n, f in enumerate(functions)
    )
    primary = next(f.address for f in endpoints if f.is_primary)
    return Unit(
        key=UnitKey("h", primary),
        iommu_group=draw(st.integers(0, 9999)),
        functions=endpoints,
        numa_node=draw(st.none() | st.integers(0, 63)),
        socket=draw(st.none() | st.integers(0, 7)),
        switch=draw(st.none() | ADDRESSES),
        traits=draw(
            st.frozensets(
                st.sampled_from(["CUSTOM_GOLD", "HW_GPU_API_VULKAN"])
            )
        ),
    )


def test_stored_names_do_not_change() -> None:
    """Ledgers that exist were written with these."""
    published = unit(0xA, GPU, NIC, node=1, socket=0, switch=4)
    stored = {
        "resource classes": [names.HOST_CLASS, names.STATE_COUNTER],
        "traits": [
            names.HOST_TRAIT,
            names.UNIT_TRAIT,
            f"{names.LAYOUT_PREFIX}{names.LAYOUT}",
            names.CORDONED_TRAIT,
        ],
        "unit": sorted(names.unit_traits(published, "läuft heiß")),
        "host": sorted(
            names.text_traits(names.CORDON_REASON, ["fan is replaced"])
            | names.text_traits(names.MACHINE, ["1" * 32])
            | names.text_traits(names.AGGREGATE, ["rack", "a" * 150])
        ),
        "providers": [
            names.host_provider("h"),
            names.unit_provider(published.key),
        ],
        "aggregate": names.aggregate("rack"),
        "consumers": [
            names.PROJECT,
            names.CONSUMER_TYPE,
            names.user_id(request("gpu:1")),
            names.user_id(CONDITIONS),
        ],
    }
    assert_golden(Path(__file__).with_name("stored.txt"), sections(stored))


@given(units(), st.text(max_size=700))
def test_traits_keep_a_unit_and_its_reason(kept: Unit, reason: str) -> None:
    traits = names.unit_traits(kept, reason)
    assert names.unit_in("h", traits) == kept
    assert names.text_in(names.QUARANTINE_REASON, traits) == reason
    assert all(TRAIT.fullmatch(trait) for trait in traits)
    without = names.without_texts(traits, names.QUARANTINE_REASON)
    assert without == names.unit_traits(kept)


@given(st.frozensets(st.text(min_size=1, max_size=300), max_size=4))
def test_traits_keep_several_texts(texts: frozenset[str]) -> None:
    traits = names.text_traits("WORD", texts)
    assert set(names.texts_in("WORD", traits)) == texts


@pytest.mark.parametrize(
    ("kept", "added", "problem"),
    [
        ("", "", "primary"),
        ("F", "", "IOMMU group"),
        ("GROUP", "", "primary"),
        ("GROUP F", "GROUP_X", "GROUP_X"),
        ("GROUP F", "GROUP_2", "contradict"),
        ("GROUP F", "F_X", "F_X"),
        ("GROUP F", "F_0000_01_00_0_10DE_1430_030000_PCI_X", "PCI_X"),
        ("GROUP F", "F_0000_01_20_0_10DE_1430_030000_PCI_P", "01_20"),
        ("GROUP F", "F_0000_01_00_0_10DE_9999_030000_PCI_P", "twice"),
        ("GROUP F", "NODE_", "NODE_"),
        ("GROUP F", "SOCKET_1_2", "SOCKET_1_2"),
        ("GROUP F", "SWITCH_0000_01", "SWITCH_0000_01"),
    ],
)
def test_traits_that_describe_no_unit(
    kept: str, added: str, problem: str
) -> None:
    prefixes = tuple(f"{names.TRAIT_PREFIX}{k}_" for k in kept.split())
    traits = {t for t in names.unit_traits(unit(1)) if t.startswith(prefixes)}
    traits |= {f"{names.TRAIT_PREFIX}{added}"} if added else set()
    with pytest.raises(errors.Invalid, match=problem):
        names.unit_in("h", traits)


@pytest.mark.parametrize("text", ["X", "0_0", "0_0_1", "0_X_ME", "0_0_A"])
def test_traits_that_spell_no_text(text: str) -> None:
    trait = f"{names.TRAIT_PREFIX}WHY_{text}"
    with pytest.raises(errors.Invalid, match="WHY_"):
        names.texts_in(names.CORDON_REASON, {trait})


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("h_0000:0A:00.0", UnitKey("h", Address(0, 0xA, 0, 0))),
        ("a_b_10000:01:1F.7", UnitKey("a_b", Address(65536, 1, 31, 7))),
        ("h", None),
        ("h_gpu-passthrough", None),
    ],
)
def test_names_of_unit_providers(name: str, key: UnitKey | None) -> None:
    assert names.unit_key_in(name) == key
    if key is not None:
        assert names.unit_provider(key) == name


def test_names_of_host_providers() -> None:
    assert names.host_in(names.host_provider("h")) == "h"


def test_an_aggregate_named_by_its_uuid() -> None:
    uuid = "AAAAAAAA-2222-4333-8444-555555555555"
    assert names.aggregate(uuid) == uuid.lower()
    assert names.aggregate("rack") == names.aggregate("rack") != "rack"


def test_a_request_is_the_same_in_any_order() -> None:
    user_id = names.user_id(request("gpu:2,nic:1", 1, 0))
    assert names.request_in(user_id) == "gpu:2,nic:1"
    assert names.is_same_request(user_id, request("nic:1,gpu:2", 0, 1))
    assert not names.is_same_request(user_id, request("nic:1,gpu:2"))
    assert not names.is_same_request(user_id, CONDITIONS)


def test_a_request_that_is_too_long() -> None:
    with pytest.raises(errors.Invalid, match="255"):
        names.user_id(request("gpu:1", *range(200)))
