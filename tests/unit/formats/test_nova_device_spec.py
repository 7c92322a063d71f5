"""Nova's device_spec: what is read, what is wrong, what is written."""

from __future__ import annotations

import json
import re

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import (
    nova_device_spec,
    nova_pci_address,
)
from gpu_passthrough_plugin.formats.nova_device_spec import KEYS, DeviceSpec
from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import Unknown, Why

PLACE = address.parse("0000:06:00.0")
EXACT = nova_pci_address.exactly(PLACE)
EVERY = DeviceSpec(
    EXACT,
    0x10DE,
    0x1430,
    resource_class="CUSTOM_X",
    traits=("CUSTOM_A", "CUSTOM_B"),
    managed=False,
    live_migratable=True,
    one_time_use=True,
    tags={"physical_network": None, "iommu_group": "0000:06:00.0"},
)


def read(**entry: object) -> DeviceSpec:
    return nova_device_spec.read(entry)


def matches(spec: DeviceSpec) -> bool:
    return spec.matches(PLACE, 0x10DE, 0x1430, None, lambda _: False)


def test_every_field() -> None:
    text = (
        '{"address": "0000:06:00.0", "vendor_id": "10de",'
        ' "product_id": "1430", "resource_class": "CUSTOM_X",'
        ' "traits": "CUSTOM_A,CUSTOM_B", "managed": "no",'
        ' "live_migratable": "yes", "one_time_use": "yes",'
        ' "iommu_group": "0000:06:00.0"}'
    )
    assert str(EVERY) == text
    (entry,) = nova_device_spec.load(text)
    read = nova_device_spec.read(entry)
    assert read.tags == {"iommu_group": "0000:06:00.0"}
    assert str(read) == text


def test_the_shortest() -> None:
    assert str(DeviceSpec(EXACT, 0x10DE, 0x0FBA)) == (
        '{"address": "0000:06:00.0", "vendor_id": "10de",'
        ' "product_id": "0fba"}'
    )
    assert str(DeviceSpec()) == "{}"
    assert str(DeviceSpec(devname="eno1")) == '{"devname": "eno1"}'


def test_a_regular_expression_is_written_as_one() -> None:
    spec = read(address={"bus": "0[67]", "function": "0"})
    assert nova_device_spec.read(json.loads(str(spec))) == spec


def test_ids_are_read_as_nova_reads_them() -> None:
    spec = read(vendor_id=" 0x10DE ", product_id="1_0")
    assert (spec.vendor_id, spec.product_id) == (0x10DE, 0x10)
    assert read(vendor_id=" * ").vendor_id is None
    assert not matches(read(vendor_id="-10de"))


@pytest.mark.parametrize(
    ("entry", "is_everything"),
    [
        ({}, True),
        ({"address": ""}, True),
        ({"address": "*:*:*.*", "vendor_id": "*"}, True),
        ({"address": {"bus": ".*"}}, True),
        ({"managed": "no"}, True),
        ({"vendor_id": "10de"}, False),
        ({"address": "*:*:*.0"}, False),
        ({"devname": "eno1"}, False),
    ],
)
def test_what_matches_everything(
    entry: dict[str, object], is_everything: bool
) -> None:
    spec = nova_device_spec.read(entry)
    assert spec.is_everything is is_everything
    other = address.parse("ffff:ff:1f.7")
    found = spec.matches(other, 1, 1, None, lambda _: False)
    assert found is is_everything


def test_ids_match() -> None:
    assert matches(read(vendor_id="10de", product_id="1430"))
    assert not matches(read(vendor_id="8086"))
    assert not matches(read(product_id="1431"))
    unknown = Unknown(Why.MALFORMED)
    spec = read(vendor_id="10de")
    assert not spec.matches(PLACE, unknown, 0x1430, None, lambda _: False)
    assert read().matches(PLACE, unknown, unknown, None, lambda _: False)


def test_a_physical_function_s_address_matches_virtual_ones() -> None:
    virtual = Address(0, 6, 0, 3)

    def found(spec: DeviceSpec, *physical: str) -> bool:
        return spec.matches(
            virtual, 0x10DE, 0x1430, PLACE, physical.__contains__
        )

    exact = read(address="0000:06:00.0")
    assert found(exact, "0000:06:00.0")
    assert not found(exact)
    # Only an address that is spelled out can be a physical function's.
    assert not found(read(address="*:06:00.0"), "0000:06:00.0", "")
    assert not found(read(address="0000:07:00.0"), "0000:07:00.0")


def test_a_network_interface_matches_nothing_here() -> None:
    assert not matches(read(devname="eno1"))


def test_a_network() -> None:
    assert read(physical_network="physnet0").is_network
    # The value for overlays.  Source: nova, pci/request.py.
    assert not read(physical_network=None).is_network


def test_traits() -> None:
    spec = read(traits="blue, CUSTOM_A")
    assert spec.traits == ("blue", " CUSTOM_A")
    assert spec.given_traits == {"CUSTOM_BLUE", "CUSTOM__CUSTOM_A"}


@pytest.mark.parametrize("text", ["[{}, {}]", "{}", "[]"])
def test_one_object_or_a_list(text: str) -> None:
    assert len(list(nova_device_spec.load(text))) == text.count("{")


@pytest.mark.parametrize(
    "text", ["null", "[[{}]]", "5", "{", "[" * 100_000, "9" * 10_000]
)
def test_what_is_no_object(text: str) -> None:
    with pytest.raises(errors.Invalid):
        list(nova_device_spec.load(text))


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"address": {"bus": "(" * 30}}, "bus"),
        ({"address": {"bus": 6}}, "bus"),
        ({"address": ["0000:06:00.0"]}, "address"),
        ({"address": "0000:06:00.0", "devname": "eno1"}, "devname"),
        ({"address": "1:2:3:4.5"}, "address"),
        ({"address": "10000:06:00.0"}, "domain"),
        ({"address": "0000:06:00.8"}, "function"),
        ({"address": "0000:06:00. "}, "function"),
        ({"address": "0000:06:20.0"}, "slot"),
        ({"address": "0000:100:00.0"}, "bus"),
        ({"vendor_id": None}, "vendor_id"),
        ({"vendor_id": 4318}, "vendor_id"),
        ({"product_id": "10de0"}, "product_id"),
        ({"product_id": " * "}, "product_id"),
        ({"devname": 1}, "devname"),
        ({"managed": "perhaps"}, "managed"),
        ({"one_time_use": ["yes"]}, "one_time_use"),
        ({"traits": ["A"]}, "traits"),
        ({"vendor_id": "z" * 10_000}, "vendor_id"),
    ],
)
def test_what_is_wrong(entry: dict[str, object], key: str) -> None:
    with pytest.raises(errors.Faults) as caught:
        nova_device_spec.read(entry)
    (fault,) = caught.value.faults
    assert re.search(rf"\b{key}\b", fault)
    assert len(fault) < 200


def test_a_key_that_a_release_does_not_know_is_a_tag() -> None:
    """Of any value."""
    entry = {"managed": "perhaps", "live_migratable": "yes"}
    spec = nova_device_spec.read(entry, Release(30))
    assert (spec.managed, spec.live_migratable) == (None, None)
    assert spec.tags == entry


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    with pytest.raises(errors.Faults) as caught:
        read(vendor_id=1, product_id="x", address="1:2:3:4.5", managed="?")
    assert len(caught.value.faults) == 4


def test_every_key_but_the_tags_is_a_field() -> None:
    fields = {*DeviceSpec.__dataclass_fields__} - {"tags"}
    assert KEYS.keys() - fields == {
        "physical_network", "trusted", "remote_managed",
    }  # fmt: skip
