from __future__ import annotations

import os_traits  # type: ignore[import-untyped]
import pytest

from gpu_passthrough_plugin.model import selector, trait
from gpu_passthrough_plugin.model.trait import ConfiguredTraits
from tests.unit.isolation.values import audio, gpu


def test_every_standard_trait_is_one() -> None:
    names = os_traits.get_traits()
    assert len(names) > 300
    assert [name for name in names if not trait.is_trait(name)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CUSTOM_A", True),
        ("CUSTOM__0", True),
        ("CUSTOM_" + "A" * 248, True),
        ("CUSTOM_" + "A" * 249, False),
        ("CUSTOM_", False),
        ("CUSTOM_a", False),
        ("CUSTOM_A-B", False),
        ("CUSTOM_A ", False),
        ("CUSTOM_A\n", False),
        ("custom_A", False),
        ("GOLD", False),
        ("", False),
    ],
)
def test_is_trait(text: str, expected: bool) -> None:
    assert trait.is_trait(text) is expected


@pytest.mark.parametrize(
    "text",
    ["CUSTOM_A", "custom_a", "gold", "hw-Gpu", "HW_GPU", " x", "\u00e9"],
)
def test_normal_is_as_os_traits_has_it(text: str) -> None:
    upper = text.upper()
    expected = upper
    if not os_traits.is_custom(upper) and not trait.is_trait(text):
        expected = os_traits.normalize_name(upper)
    assert trait.normal(text) == expected


def test_a_unit_has_the_traits_of_each_of_its_functions() -> None:
    given = [
        ConfiguredTraits(selector.parse(text), frozenset(traits))
        for text, *traits in (
            ("10de:1430", "CUSTOM_GPU"),
            ("class=0403", "CUSTOM_SOUND", "CUSTOM_LOUD"),
            ("0000:06:00.*", "CUSTOM_LOUD"),
            ("07:00.*", "CUSTOM_OTHER"),
        )
    ]
    assert trait.of_unit([gpu(), audio()], given) == {
        "CUSTOM_GPU",
        "CUSTOM_SOUND",
        "CUSTOM_LOUD",
    }
    assert trait.of_unit([gpu("08:00.0")], given) == {"CUSTOM_GPU"}
    assert trait.of_unit([gpu()], []) == frozenset()
