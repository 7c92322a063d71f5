"""device_spec entries with one fault each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Status
from tests.trees import hosts
from tests.trees.host import Host
from tests.unit.nova.lint.build import (
    FILTER,
    GPU,
    fault,
    faults,
    kinds,
    pci,
)

FAIL, WARN = Status.FAIL, Status.WARN
DISPLAY = {"address": "0000:04:00.0"}


@pytest.mark.parametrize(
    ("host", "specs", "check", "status", "datum"),
    [
        (hosts.four_functions, [{"address": "0000:09:00.0"}], "matches", WARN,
         "nova.conf:2"),
        (hosts.four_functions, [{"product_id": "1e87"}, DISPLAY], "matches",
         WARN, "nova.conf:2"),
        (hosts.four_functions, [{"devname": "eno1"}], "matches", WARN,
         "'eno1'"),
        (hosts.shared_group, [{"address": "0000:05:0*.0"}], "values", FAIL,
         "'0*'"),
        (hosts.virtual_functions, [DISPLAY | {"vendor_id": "8086",
                                              "trait": "X"}],
         "keys", WARN, "'trait'"),
        (hosts.four_functions, [DISPLAY | {"dev_type": "type-VF"}],
         "keys", WARN, "type-VF"),
        (hosts.four_functions, [DISPLAY | {"numa_node": 1}],
         "keys", WARN, "'numa_node'"),
    ],
)  # fmt: skip
def test_an_entry_with_one_fault(
    host: Callable[[], Host],
    specs: list[object],
    check: str,
    status: Status,
    datum: str,
) -> None:
    found = fault(host(), pci(specs))
    assert (found.check, found.status) == (check, status)
    assert datum in f"{found.where}: {found.detail}"
    assert found.remedy


@pytest.mark.parametrize(
    ("text", "cards"),
    [
        ("04:00.0", ""),
        ("00.0", "7 cards"),
        (":00.0", "7 cards"),
        ({"bus": "0", "slot": "00", "function": "0"}, "7 cards"),
        ({"domain": ".*", "bus": "0", "function": "0"}, "7 cards"),
        ({"bus": "04", "slot": "00", "function": "0"}, ""),
        ({"bus": "0[45]", "slot": "00", "function": "0"}, ""),
        ({"slot": "00", "function": "0"}, ""),
        ("*:*:00.0", ""),
    ],
)
def test_an_address_that_means_one_card_and_matches_more(
    text: object, cards: str
) -> None:
    greedy = [
        f
        for f in faults(hosts.shared_group(), pci([{"address": text}]))
        if (f.check, f.status) == ("greedy", WARN)
    ]
    assert len(greedy) == bool(cards)


@pytest.mark.parametrize("spec", [{}, {"address": ""}, {"managed": "no"}])
def test_an_entry_that_matches_everything(spec: dict[str, str]) -> None:
    greedy = [
        f
        for f in faults(hosts.four_functions(), pci([spec]))
        if f.check == "greedy"
    ]
    assert [f.status for f in greedy] == [FAIL]
    assert "12 functions" in greedy[0].detail


@pytest.mark.parametrize(
    ("release", "key", "is_known"),
    [
        (30, "managed", False),
        (31, "managed", True),
        (31, "one_time_use", False),
        (32, "one_time_use", True),
        (30, "live_migratable", False),
    ],
)
def test_keys_that_a_release_does_not_know(
    release: int, key: str, is_known: bool
) -> None:
    text = FILTER + pci([DISPLAY | {key: "yes"}])
    found = kinds(hosts.four_functions(), text, Release(release))
    assert found == ([] if is_known else [("keys", WARN)])


def test_an_older_spelling_and_a_switch_that_is_off() -> None:
    text = (
        '[pci]\npassthrough_whitelist = {"address": "0000:04:00.0",'
        ' "one_time_use": "yes"}\nreport_in_placement = False\n'
    )
    found = kinds(hosts.four_functions(), text)
    assert found == [("keys", WARN), ("keys", FAIL)]


@pytest.mark.parametrize(
    ("value", "release", "status"),
    [("yes", 34, FAIL), ("no", 34, WARN), ("yes", 31, WARN)],
)
def test_one_time_use_needs_reporting(
    value: str, release: int, status: Status
) -> None:
    text = pci([DISPLAY | {"one_time_use": value}])
    text += "report_in_placement = False\n"
    found = fault(hosts.four_functions(), text, Release(release))
    assert (found.check, found.status) == ("keys", status)


def test_a_network_interface_where_nova_reports_to_placement() -> None:
    text = FILTER + pci([{"devname": "eno1"}])
    found = kinds(hosts.four_functions(), text)
    assert found == [("matches", WARN), ("keys", FAIL)]


def test_traits_of_aliases_are_looked_at_too() -> None:
    alias = GPU | {"traits": "CUSTOM_A, CUSTOM_B"}
    spec = DISPLAY | {"traits": "CUSTOM_A, CUSTOM_B"}
    text = FILTER + pci([spec], [alias])
    assert kinds(hosts.four_functions(), text) == [("traits", WARN)] * 2


@pytest.mark.parametrize(
    ("traits", "status", "datum"),
    [
        ("CUSTOM_A, CUSTOM_B", WARN, "CUSTOM__CUSTOM_B"),
        ("CUSTOM_A,", FAIL, "''"),
    ],
)
def test_traits_are_reported_to_placement_only(
    traits: str, status: Status, datum: str
) -> None:
    text = pci([DISPLAY | {"traits": traits}])
    found = fault(hosts.four_functions(), FILTER + text)
    assert (found.check, found.status) == ("traits", status)
    assert datum in found.detail
    assert kinds(hosts.four_functions(), text) == [("keys", WARN)]


@pytest.mark.parametrize(
    ("tag", "is_refused"),
    [
        ({"x": ["a"]}, True),
        ({"x": {"a": "b"}}, True),
        ({"physical_network": ["a"]}, True),
        ({"x": True, "y": 1.5, "z": None}, False),
        ({"numa_node": "near"}, True),
        ({"numa_node": "1.5"}, True),
        ({"numa_node": "1"}, False),
        ({"numa_node": 1.5}, False),
        ({"numa_node": True}, False),
        ({"numa_node": None}, False),
    ],
)
def test_tags_that_nova_cannot_store(
    tag: dict[str, object], is_refused: bool
) -> None:
    """Where the entry lists nothing they are never stored."""
    found = kinds(hosts.four_functions(), pci([DISPLAY | tag]))
    assert (("values", FAIL) in found) is is_refused
    other = {"address": "0000:09:00.0"}
    found = kinds(hosts.four_functions(), pci([other | tag]))
    assert ("values", FAIL) not in found


def test_remote_functions_are_warned_of_where_they_are_listed() -> None:
    for slot in ("04:00", "09:00"):
        entry = {"address": f"0000:{slot}.0", "remote_managed": "true"}
        found = kinds(hosts.four_functions(), pci([entry]))
        assert (("keys", WARN) in found) is (slot == "04:00")


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        ("PGPU", True),
        ("tesla v100", True),
        ("x" * 248, True),
        ("x" * 249, False),
        ("CUSTOM_", False),
        ("CUSTOM_A-B", False),
    ],
)
def test_classes_that_placement_takes(name: str, is_valid: bool) -> None:
    """Source: placement, schemas/resource_class.py."""
    text = pci([DISPLAY | {"resource_class": name}])
    found = kinds(hosts.four_functions(), FILTER + text)
    assert (("values", FAIL) in found) is not is_valid
    assert ("values", FAIL) not in kinds(hosts.four_functions(), text)
