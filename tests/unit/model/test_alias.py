"""Nova's aliases: what it takes, and everything that is wrong at once."""

from __future__ import annotations

import json

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import alias
from gpu_passthrough_plugin.model.request import Alias, NumaPolicy, Spec
from gpu_passthrough_plugin.model.unit import DeviceType


def line(**entry: object) -> str:
    return json.dumps(entry)


def faults(*lines: str) -> tuple[str, ...]:
    with pytest.raises(errors.Faults) as caught:
        alias.parse(lines)
    assert "\n" not in str(caught.value)
    return caught.value.faults


def test_none() -> None:
    assert alias.parse([]) == {}


def test_the_shortest() -> None:
    # Nova's defaults: a plain PCI device, and the legacy policy.
    spec = Spec(None, None, DeviceType.PCI, None, frozenset())
    assert alias.parse(['{"name": "x"}']) == {
        "x": Alias("x", NumaPolicy.LEGACY, (spec,))
    }


def test_every_key() -> None:
    found = alias.parse(
        [
            line(
                name="gpu",
                vendor_id="10DE",
                product_id="13ba",
                capability_type="pci",
                device_type="type-PF",
                numa_policy="required",
                resource_class="CUSTOM_GPU",
                traits="CUSTOM_A,CUSTOM_B",
                live_migratable="no",
            )
        ]
    )
    spec = Spec(
        0x10DE,
        0x13BA,
        DeviceType.PF,
        "CUSTOM_GPU",
        frozenset({"CUSTOM_A", "CUSTOM_B"}),
    )
    assert found == {"gpu": Alias("gpu", NumaPolicy.REQUIRED, (spec,))}


def test_traits_are_read_as_nova_reads_them() -> None:
    # A space is no part of a name, and Nova makes one of it all the same.
    text = "hw_gpu,HW_GPU_API_VULKAN,custom_a,gold-plated, CUSTOM_B,"
    (spec,) = alias.parse([line(name="x", traits=text)])["x"].specs
    assert spec.traits == {
        "CUSTOM_HW_GPU",
        "HW_GPU_API_VULKAN",
        "CUSTOM_A",
        "CUSTOM_GOLD_PLATED",
        "CUSTOM__CUSTOM_B",
    }


def test_entries_of_one_name_are_alternatives() -> None:
    found = alias.parse(
        [
            line(name="gpu", product_id="1430"),
            line(name="nic", product_id="1017"),
            line(name="gpu", product_id="13ba"),
        ]
    )
    assert [spec.product_id for spec in found["gpu"].specs] == [0x1430, 0x13BA]
    assert list(found) == ["gpu", "nic"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "'{' is not JSON (Expecting property name"),
        ("", "'' is not JSON (Expecting value"),
        ('["gpu"]', "is not a JSON object such as {...}"),
        ('"gpu"', "is not a JSON object such as {...}"),
        ("{}", "has no name; add one"),
        (line(name=""), "name is ''; wanted 1 to 255 characters"),
        (line(name="x" * 256), "wanted 1 to 255 characters"),
        (line(name=1), "name is 1; wanted a text in double quotes"),
        (line(name="x", vendor_id="0x10de"), "wanted 4 hex digits without 0x"),
        (line(name="x", vendor_id="10d"), "wanted 4 hex digits without 0x"),
        (line(name="x", product_id="13bg"), "wanted 4 hex digits without 0x"),
        (line(name="x", product_id=1430), "wanted a text in double quotes"),
        (
            line(name="x", device_type="type-GPU"),
            "device_type is 'type-GPU'; wanted one of type-PCI, type-PF,"
            " type-VF",
        ),
        (
            line(name="x", numa_policy="strict"),
            "wanted one of required, legacy, preferred, socket",
        ),
        (line(name="x", capability_type="usb"), "wanted one of pci"),
        (line(name="x", live_migratable="maybe"), "wanted one of yes, no"),
        (line(name="x", resource_class=""), "wanted a text that is not empty"),
        (
            line(name="x", vendor="10de"),
            "'vendor' is not a key of an alias; wanted one of name, vendor_id",
        ),
    ],
)
def test_what_is_wrong(text: str, said: str) -> None:
    (fault,) = faults(text)
    assert fault.startswith("[pci] alias number 1: ")
    assert said in fault


def test_everything_that_is_wrong_is_said_at_once() -> None:
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
    assert fault.startswith(f"[pci] alias number 2: alias 'x' has {key} ")
    assert f"{first} before; give both the same" in fault
