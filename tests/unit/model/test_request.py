"""Requests in Nova's syntax, and which functions satisfy an alias."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import request
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.request import (
    Alias,
    Item,
    NumaPolicy,
    Request,
    Spec,
)
from gpu_passthrough_plugin.model.unit import DeviceType, UnitFunction

CARD = UnitFunction(
    Address(0, 6, 0, 0), 0x10DE, 0x1430, 0x030000, DeviceType.PCI, True
)
TRAITS = frozenset({"CUSTOM_A", "CUSTOM_B"})
ANY = Spec(None, None, DeviceType.PCI, None, frozenset())
GPU = Alias("gpu", NumaPolicy.LEGACY, (ANY,))
NIC = Alias("nic", NumaPolicy.REQUIRED, (ANY,))
ALIASES = {"gpu": GPU, "nic": NIC}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu:1", [Item(GPU, 1)]),
        ("gpu:2,nic:1", [Item(GPU, 2), Item(NIC, 1)]),
        (" nic:10 , gpu:08 ", [Item(NIC, 10), Item(GPU, 8)]),
    ],
)
def test_parse(text: str, expected: list[Item]) -> None:
    assert request.parse(text, ALIASES) == Request(tuple(expected))


def test_a_request_has_the_numa_nodes() -> None:
    nodes = frozenset({0, 1})
    assert request.parse("gpu:1", ALIASES, nodes).numa_nodes == nodes
    assert request.parse("gpu:1", ALIASES).numa_nodes is None


@pytest.mark.parametrize("text", ["gpu:1", "gpu:2,nic:1", "nic:3,gpu:1"])
def test_parse_and_print_is_identity(text: str) -> None:
    assert str(request.parse(text, ALIASES)) == text


def test_equal_requests_are_equal_keys() -> None:
    one, other = (request.parse("gpu:1,nic:2", ALIASES) for _ in range(2))
    assert one is not other
    assert {one: 1}[other] == 1
    tied = dataclasses.replace(one, numa_nodes=frozenset({0}))
    assert tied not in {one: 1}
    assert dataclasses.replace(tied, numa_nodes=None) in {one: 1}


def test_a_request_is_pickled_whole() -> None:
    whole = Request(
        (Item(GPU, 1),), frozenset({0}), True, frozenset({"CUSTOM_A"}), "rack"
    )
    unpickled = pickle.loads(pickle.dumps(whole))  # noqa: S301 - made here
    assert unpickled == whole


def test_a_request_from_another_process_is_the_same() -> None:
    """Where texts have other hashes."""
    made = (
        "import pickle, sys\n"
        "from tests.unit.model.test_request import ALIASES\n"
        "from gpu_passthrough_plugin.model.request import parse\n"
        "sys.stdout.buffer.write(pickle.dumps(parse('gpu:1', ALIASES)))\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", made),
        capture_output=True,
        env={"PYTHONHASHSEED": "7"},
        check=True,
    )
    unpickled = pickle.loads(done.stdout)  # noqa: S301 - made above
    assert unpickled in {request.parse("gpu:1", ALIASES): 1}


@pytest.mark.parametrize(
    ("text", "datum"),
    [
        ("", "''"),
        ("gpu", "'gpu'"),
        ("gpu:", "'gpu:'"),
        (":1", "':1'"),
        ("gpu 1", "'gpu 1'"),
        ("gpu:1,", "''"),
        ("gpu:0", "'0' of alias 'gpu'"),
        ("gpu:00", "alias 'gpu'"),
        ("gpu:-1", "alias 'gpu'"),
        ("gpu:one", "alias 'gpu'"),
        ("gpu:1.5", "alias 'gpu'"),
        ("gpu:1:2", "alias 'gpu'"),
        ("gpu:99999", "alias 'gpu'"),
        ("gpu:\u0661", "alias 'gpu'"),
        ("tpu:1", "alias 'tpu'"),
        ("gpu:1,gpu:2", "alias 'gpu'"),
    ],
)
def test_what_is_wrong(text: str, datum: str) -> None:
    with pytest.raises(errors.Faults) as caught:
        request.parse(text, ALIASES)
    (fault,) = caught.value.faults
    assert fault.startswith(f"request {text!r}: ")
    assert datum in fault


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(errors.Faults) as caught:
        request.parse("gpu:0,tpu:1,nic", ALIASES)
    assert len(caught.value.faults) == 3


def test_no_alias_is_configured() -> None:
    with pytest.raises(errors.Faults, match="configured: none; add it"):
        request.parse("gpu:1", {})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"vendor_id": 0x10DE}, True),
        ({"vendor_id": 0x1002}, False),
        ({"product_id": 0x1430}, True),
        ({"product_id": 0x13BA}, False),
        ({"device_type": DeviceType.PF}, False),
        ({"resource_class": "CUSTOM_PCI_10DE_1430"}, True),
        ({"resource_class": "CUSTOM_GPU"}, False),
        ({"traits": frozenset({"CUSTOM_A"})}, True),
        ({"traits": frozenset({"CUSTOM_A", "CUSTOM_B"})}, True),
        ({"traits": frozenset({"CUSTOM_A", "CUSTOM_C"})}, False),
    ],
)
def test_spec(changes: dict[str, object], expected: bool) -> None:
    spec = dataclasses.replace(ANY, **changes)  # type: ignore[arg-type]  # a table of fields
    assert spec.matches(CARD, TRAITS) is expected


def test_one_entry_of_an_alias_is_enough() -> None:
    other = dataclasses.replace(ANY, vendor_id=0x1002)
    assert Alias("x", NumaPolicy.LEGACY, (other, ANY)).matches(CARD, TRAITS)
    assert not Alias("x", NumaPolicy.LEGACY, (other,)).matches(CARD, TRAITS)


def test_a_companion_satisfies_nothing() -> None:
    companion = dataclasses.replace(CARD, is_primary=False)
    assert not GPU.matches(companion, TRAITS)
