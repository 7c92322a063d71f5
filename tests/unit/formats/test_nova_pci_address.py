"""How a device_spec names addresses."""

from __future__ import annotations

import re
import warnings

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import nova_pci_address
from gpu_passthrough_plugin.formats.nova_pci_address import AddressPattern
from gpu_passthrough_plugin.model import address

PLACE = address.parse("0000:06:00.0")


@pytest.mark.parametrize(
    ("text", "single"),
    [
        ("0000:06:00.0", "0000:06:00.0"),
        ("0:6:0.0", "0000:06:00.0"),
        ("06:00.0", ""),
        ("0000:06:00.*", ""),
        (":00.", ""),
        ("", ""),
    ],
)
def test_an_address_that_is_spelled_out(text: str, single: str) -> None:
    assert nova_pci_address.parse(text).single == single


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("06:00", ["0000:06:00.0", "0001:06:00.7"], ["0000:07:00.0"]),
        (".7", ["0001:06:1f.7"], ["0000:06:00.0"]),
        ("*:*:00.*", ["0000:06:00.3"], ["0000:06:01.0"]),
        ("1:A:b", ["0001:0a:0b.0"], ["0000:0a:0b.0"]),
    ],
)
def test_globs(text: str, yes: list[str], no: list[str]) -> None:
    pattern = nova_pci_address.parse(text)
    assert all(pattern.matches(address.parse(place)) for place in yes)
    assert not any(pattern.matches(address.parse(place)) for place in no)


def test_a_regular_expression_matches_from_the_start() -> None:
    pattern = nova_pci_address.parse({"domain": "00", "bus": "6|0[67]"})
    assert pattern.matches(PLACE)
    assert not pattern.matches(PLACE._replace(bus=0x60 >> 1))
    assert nova_pci_address.parse({"bus": "0"}).matches(PLACE)


def test_a_wide_domain_is_matched_by_nothing() -> None:
    assert not AddressPattern().matches(PLACE._replace(domain=0x10000))


@pytest.mark.parametrize(
    "text", ["(" * 60 + ")" * 60, "((.*)*)*" * 3, ".{1,9999}", "0" * 65]
)
def test_a_regular_expression_that_takes_long(text: str) -> None:
    value = {"bus": text}
    assert "bus" in nova_pci_address.too_intricate(value)
    with pytest.raises(errors.Invalid):
        nova_pci_address.parse(value)
    assert not nova_pci_address.too_intricate({"bus": "0[67]", "slot": 5})
    assert not nova_pci_address.too_intricate("06:00.0")


@pytest.mark.parametrize("text", ["0[[a]", "[a||b]", "[a&&b]"])
def test_python_warns_of_no_pattern(text: str) -> None:
    """It would print lines of its own among the findings."""
    re.purge()
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        nova_pci_address.parse({"bus": text})
    assert shown == []
