"""Traits: Placement's names for properties of a unit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.selector import Selector

# Source: placement, schemas/trait.py, and os-traits, whose names all begin
# with one of these words.
_NAME = re.compile(r"(?:CUSTOM|COMPUTE|HW|MISC|OWNER|STORAGE)_[A-Z0-9_]+")
_MOST = 255

EXPECTED = (
    "CUSTOM_ with capitals, digits and _, or a standard trait such as"
    f" HW_GPU_API_VULKAN, of at most {_MOST} characters"
)


UNISOLATED = "CUSTOM_IOMMU_UNISOLATED"
"""The trait of a unit that the hardware may not isolate from others."""


class ConfiguredTraits(NamedTuple):
    """Traits that the configuration gives to units of some functions."""

    selector: Selector
    traits: frozenset[str]


def of_unit(
    endpoints: Iterable[Function], configured: Iterable[ConfiguredTraits]
) -> frozenset[str]:
    """Return the traits of a unit with these endpoints.

    :param endpoints: companions included.
    """
    endpoints = tuple(endpoints)
    return frozenset(
        name
        for entry in configured
        if any(map(entry.selector.matches, endpoints))
        for name in entry.traits
    )


def is_trait(text: str) -> bool:
    """Return whether Placement accepts it as the name of a trait.

    Of a standard trait only the prefix is checked: each release of os-traits
    adds some.
    """
    return len(text) <= _MOST and _NAME.fullmatch(text) is not None


def normal(text: str) -> str:
    """Return the trait that Nova reads from a name in its configuration.

    Source: nova, compute/pci_placement_translator.py
    (``_normalize_traits``), and os_traits.normalize_name.
    """
    upper = text.upper()
    if is_trait(text) or upper.startswith("CUSTOM_"):
        return upper
    return f"CUSTOM_{re.sub('[^0-9A-Z]+', '_', upper)}"
