"""Nova's aliases: what is read, everything that is wrong, what is written."""

from __future__ import annotations

import json

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import nova_alias
from gpu_passthrough_plugin.formats.nova_alias import KEYS, AliasEntry
from gpu_passthrough_plugin.model.request import Alias, NumaPolicy, Spec
from gpu_passthrough_plugin.model.unit import DeviceType


def line(**entry: object) -> str:
    return json.dumps(entry)


def read(**entry: object) -> AliasEntry:
    return nova_alias.read(nova_alias.load(line(**entry)))


def faults(*lines: str) -> tuple[str, ...]:
    with pytest.raises(errors.Faults) as caught:
        nova_alias.parse_aliases(lines)
    assert "\n" not in str(caught.value)
    return caught.value.faults


EVERY = AliasEntry(
    "gpu",
    0x10DE,
    0x13BA,
    DeviceType.PF,
    NumaPolicy.REQUIRED,
    "CUSTOM_GPU",
    ("CUSTOM_A", "CUSTOM_B"),
    False,
    "pci",
)


def test_every_key() -> None:
    entry = {
        "name": "gpu",
        "vendor_id": "10DE",
        "product_id": "13ba",
        "capability_type": "pci",
        "device_type": "type-PF",
        "numa_policy": "required",
        "resource_class": "CUSTOM_GPU",
        "traits": "CUSTOM_A,CUSTOM_B",
        "live_migratable": "no",
    }
    assert entry.keys() == KEYS.keys()
    assert read(**entry) == EVERY
    assert json.loads(str(EVERY)) == {**entry, "vendor_id": "10de"}
    assert list(json.loads(str(EVERY))) == list(entry)


def test_the_shortest() -> None:
    assert read(name="x") == AliasEntry("x")
    assert str(AliasEntry("x")) == '{"name": "x"}'
    assert not AliasEntry("x", vendor_id=1).has_ids
    assert EVERY.has_ids


def test_what_counts_as_not_set() -> None:
    assert read(name=" x ", resource_class="", traits="") == AliasEntry("x")


@pytest.mark.parametrize(
    ("text", "value"),
    [(" YES ", True), ("1", True), ("t", True), ("off", False), ("N", False)],
)
def test_booleans_are_oslo_utils_own(text: str, value: bool) -> None:
    assert read(name="x", live_migratable=text).live_migratable is value


def test_traits_are_read_as_nova_reads_them() -> None:
    # A space is no part of a name, and Nova makes one of it all the same.
    text = "hw_gpu,HW_GPU_API_VULKAN,custom_a,gold-plated, CUSTOM_B,"
    required = {
        "CUSTOM_HW_GPU",
        "HW_GPU_API_VULKAN",
        "CUSTOM_A",
        "CUSTOM_GOLD_PLATED",
        "CUSTOM__CUSTOM_B",
    }
    entry = read(name="x", traits=text)
    assert ",".join(entry.traits) == text
    assert entry.required_traits == required | {"CUSTOM_"}
    specs = nova_alias.parse_aliases([str(entry)])["x"].specs
    assert {spec.traits for spec in specs} == {frozenset(required)}


@pytest.mark.parametrize(
    ("text", "datum"),
    [
        ("{", "line 1 column 2"),
        ("", "line 1 column 1"),
        ("[" * 100_000, "nested"),
        ('["gpu"]', "object"),
        ('"gpu"', "object"),
    ],
)
def test_what_is_no_object(text: str, datum: str) -> None:
    with pytest.raises(errors.Invalid, match=datum):
        nova_alias.load(text)
    (fault,) = faults(text)
    assert fault.startswith("[pci] alias number 1: ")
    assert datum in fault
    assert len(fault) < 200


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": 1}, "name"),
        ({"name": ["x"]}, "name"),
        ({"name": "x", "vendor_id": "0x10de"}, "vendor_id"),
        ({"name": "x", "vendor_id": "10d"}, "vendor_id"),
        ({"name": "x", "vendor_id": "10de\n"}, "vendor_id"),
        ({"name": "x", "product_id": "13bg"}, "product_id"),
        ({"name": "x", "product_id": 1430}, "product_id"),
        ({"name": "x", "device_type": "type-GPU"}, "device_type"),
        ({"name": "x", "device_type": ""}, "device_type"),
        ({"name": "x", "numa_policy": "strict"}, "numa_policy"),
        ({"name": "x", "numa_policy": ["legacy"]}, "numa_policy"),
        ({"name": "x", "capability_type": "usb"}, "capability_type"),
        ({"name": "x", "live_migratable": "maybe"}, "live_migratable"),
        ({"name": "x", "live_migratable": True}, "live_migratable"),
        ({"name": "x", "live_migratable": ""}, "live_migratable"),
        ({"name": "x", "resource_class": None}, "resource_class"),
        ({"name": "x", "traits": ["A"]}, "traits"),
        ({"name": "x", "vendor": "10de"}, "'vendor'"),
    ],
)
def test_what_is_wrong(entry: dict[str, object], key: str) -> None:
    with pytest.raises(errors.Faults) as caught:
        nova_alias.read(entry)
    (fault,) = caught.value.faults
    assert key in fault.split(" is ")[0]


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    found = faults(
        line(name="a", vendor_id="1", product_id="2"),
        line(name="b"),
        "{",
    )
    assert [fault.split(":")[0] for fault in found] == [
        "[pci] alias number 1",
        "[pci] alias number 1",
        "[pci] alias number 3",
    ]


def test_no_alias() -> None:
    assert nova_alias.parse_aliases([]) == {}


def test_a_request_of_the_shortest() -> None:
    # A whole card, with SR-IOV or without, and the legacy policy.
    specs = tuple(
        Spec(None, None, device_type, None, frozenset())
        for device_type in (DeviceType.PCI, DeviceType.PF)
    )
    assert nova_alias.parse_aliases(['{"name": "x"}']) == {
        "x": Alias("x", NumaPolicy.LEGACY, specs)
    }


def test_a_request_of_every_key() -> None:
    traits = frozenset({"CUSTOM_A", "CUSTOM_B"})
    spec = Spec(0x10DE, 0x13BA, DeviceType.PF, "CUSTOM_GPU", traits)
    assert nova_alias.parse_aliases([str(EVERY)]) == {
        "gpu": Alias("gpu", NumaPolicy.REQUIRED, (spec,))
    }


def test_a_resource_class_is_read_as_nova_reads_it() -> None:
    aliases = nova_alias.parse_aliases(
        [line(name="x", resource_class="custom_pci_10de_1430")]
    )
    assert aliases["x"].specs[0].resource_class == "CUSTOM_PCI_10DE_1430"


def test_entries_of_one_name_are_alternatives() -> None:
    aliases = nova_alias.parse_aliases(
        [
            line(name="gpu", product_id="1430"),
            line(name="nic", product_id="1017"),
            line(name="gpu", product_id="13ba"),
        ]
    )
    products = [spec.product_id for spec in aliases["gpu"].specs]
    assert [*dict.fromkeys(products)] == [0x1430, 0x13BA]
    assert list(aliases) == ["gpu", "nic"]


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        ("numa_policy", "required", "preferred"),
        ("numa_policy", "required", None),
        ("device_type", "type-PCI", "type-PF"),
        ("device_type", "type-VF", None),
    ],
)
def test_entries_of_one_name_agree(
    key: str, first: str, second: str | None
) -> None:
    other = {} if second is None else {key: second}
    (fault,) = faults(line(name="x", **{key: first}), line(name="x", **other))
    assert fault.startswith("[pci] alias number 2: alias 'x' ")
    assert f"{key} {first} and" in fault
