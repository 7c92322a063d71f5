"""Aliases that no function of a host can satisfy."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Status
from tests.trees import hosts
from tests.unit.nova.lint.build import (
    FILTER,
    FLEX,
    GPU,
    REPORT,
    fault,
    faults,
    kinds,
    pci,
    without,
)

FAIL, WARN = Status.FAIL, Status.WARN
CARD = {"address": "0000:04:00.0"}
NEWLINE = "\n"


@pytest.mark.parametrize(
    ("change", "status", "data"),
    [
        ({"device_type": "type-PF"}, FAIL, ("type-PF", "0000:04:00.0")),
        ({"product_id": "ffff"}, WARN, ("10de:ffff",)),
        ({"product_id": "10f8"}, WARN, ("10de:10f8", "device_spec")),
        ({"resource_class": "big"}, FAIL,
         ("CUSTOM_BIG", "CUSTOM_PCI_10DE_1E87")),
        ({"traits": "CUSTOM_BLUE"}, FAIL, ("CUSTOM_BLUE",)),
        ({"live_migratable": "yes"}, FAIL, ("live_migratable yes",)),
    ],
)  # fmt: skip
def test_an_alias_that_matches_nothing(
    change: dict[str, str], status: Status, data: tuple[str, ...]
) -> None:
    text = FILTER + pci([CARD], [GPU | change])
    found = fault(hosts.four_functions(), text)
    assert (found.check, found.status) == ("alias matches", status)
    assert found.where == f"nova.conf:{text.count(NEWLINE)}"
    assert all(datum in found.detail for datum in data)


@pytest.mark.parametrize(
    "alias", [FLEX | {"device_type": "type-PCI"}, without(FLEX, "device_type")]
)
def test_a_card_that_can_do_sriov_is_a_physical_function(
    alias: dict[str, str],
) -> None:
    found = faults(hosts.virtual_functions(), pci([CARD], [alias]))
    (never,) = (f for f in found if f.check == "alias matches")
    assert never.status is FAIL
    assert '"type-PF"' in never.remedy


def test_a_device_type_that_is_not_there_means_no_physical_function() -> None:
    """Nova's default is not type-PCI: a virtual function matches too."""
    alias = {"name": "nic", "vendor_id": "15b3", "product_id": "1018"}
    text = pci([{"product_id": "1018"}], [alias])
    found = fault(hosts.virtual_functions(), text)
    assert (found.check, found.status) == ("aliases", WARN)


@pytest.mark.parametrize(
    ("spec", "alias"),
    [
        ({"resource_class": "big gpu"}, {"resource_class": "BIG_GPU"}),
        ({"traits": "blue,HW_GPU_API_VULKAN"}, {"traits": "CUSTOM_BLUE"}),
        ({}, {"traits": "COMPUTE_MANAGED_PCI_DEVICE"}),
        ({"live_migratable": "on"}, {"live_migratable": "1"}),
        ({"live_migratable": "on"}, {"traits": "HW_PCI_LIVE_MIGRATABLE"}),
        ({"one_time_use": "on"}, {"traits": "HW_PCI_ONE_TIME_USE"}),
    ],
)
def test_what_placement_finds(
    spec: dict[str, str], alias: dict[str, str]
) -> None:
    text = FILTER + pci([CARD | spec], [GPU | alias])
    assert faults(hosts.four_functions(), text) == []


def test_a_class_that_only_the_device_spec_has() -> None:
    """Ids alone ask Placement for the class that Nova makes of them."""
    spec = CARD | {"resource_class": "BIG"}
    (ignored,) = faults(hosts.four_functions(), pci([spec], [GPU]))
    assert (ignored.check, ignored.status) == ("keys", WARN)
    found = fault(hosts.four_functions(), FILTER + pci([spec], [GPU]))
    assert (found.check, found.status) == ("alias matches", FAIL)


@pytest.mark.parametrize(
    ("tags", "alias", "is_matched"),
    [
        ({"dev_type": "type-PF"}, {}, False),
        ({"dev_type": "type-PF"}, {"device_type": "type-PF"}, True),
        ({"dev_type": "TYPE-PCI"}, {}, True),
        ({"dev_type": "vdpa"}, {}, False),
        ({"dev_type": None}, {}, False),
        ({"remote_managed": "true"}, {}, False),
        ({"remote_managed": "no"}, {}, True),
        ({}, {"capability_type": "pci"}, False),
        ({"capability_type": "PCI"}, {"capability_type": "pci"}, True),
        ({"live_migratable": "no"}, {"live_migratable": "no"}, True),
        ({}, {"live_migratable": "no"}, False),
    ],
)
@pytest.mark.parametrize("extra", ["", FILTER])
def test_tags_replace_what_the_device_says(
    tags: dict[str, object],
    alias: dict[str, str],
    is_matched: bool,
    extra: str,
) -> None:
    """Source: nova, pci/stats.py (_create_pool_keys_from_dev)."""
    text = extra + pci([CARD | tags], [GPU | alias])
    found = [
        f
        for f in faults(hosts.four_functions(), text)
        if f.check == "alias matches"
    ]
    assert [f.status for f in found] == [FAIL] * (not is_matched)


def test_vdpa_devices_need_a_port() -> None:
    """Source: nova, pci/stats.py (no request for a type gets them either)."""
    text = pci([CARD | {"dev_type": "vdpa"}], [without(GPU, "device_type")])
    found = kinds(hosts.four_functions(), text)
    assert ("alias matches", FAIL) in found


def test_what_never_matches_is_said_once() -> None:
    """Not again for Placement, while the scheduler's files are not given."""
    text = REPORT + pci([CARD], [GPU | {"device_type": "type-PF"}])
    found = kinds(hosts.four_functions(), text)
    assert found == [("placement", WARN), ("alias matches", FAIL)]


def test_an_alias_with_a_capability_matches_on_no_host() -> None:
    """Whether or not this host has its ids, and other aliases match them."""
    alias = GPU | {"name": "a", "capability_type": "pci"}
    for change in ({}, {"product_id": "ffff"}):
        text = pci([CARD], [GPU, alias | change])
        found = faults(hosts.four_functions(), text)
        assert FAIL in {f.status for f in found}


def test_what_neutron_hands_out_has_no_class() -> None:
    spec = CARD | {"physical_network": "physnet0"}
    found = fault(hosts.four_functions(), FILTER + pci([spec], [GPU]))
    assert (found.check, found.status) == ("alias matches", FAIL)


@pytest.mark.parametrize(
    "other", [{"resource_class": "BIG"}, {"device_type": "type-PF"}]
)
def test_an_alias_of_another_host_is_no_fault(other: dict[str, str]) -> None:
    """All hosts have the same aliases, and cards may differ by host."""
    theirs = GPU | {"name": "theirs"} | other
    text = FILTER + pci([CARD], [GPU, theirs])
    found = fault(hosts.four_functions(), text)
    assert (found.check, found.status) == ("alias matches", WARN)
    assert "'theirs'" in found.detail
    # Where nothing else matches the card, it is one.
    alone = fault(hosts.four_functions(), FILTER + pci([CARD], [theirs]))
    assert (alone.check, alone.status) == ("alias matches", FAIL)


def test_ids_that_are_not_here_are_to_be_compared() -> None:
    """Whether or not another alias matches all that is listed."""
    strange = GPU | {"name": "a", "product_id": "ffff"}
    remedies = set()
    for others in ([], [GPU]):
        text = pci([CARD], [*others, strange])
        found = fault(hosts.four_functions(), text)
        assert found.status is WARN
        remedies.add(found.remedy)
    assert len(remedies) == 1


@pytest.mark.parametrize("key", ["resource_class", "traits"])
def test_names_with_lines_in_them_are_shown_in_one(key: str) -> None:
    text = FILTER + pci([CARD], [GPU | {key: "CUSTOM_A\n\x1b[2J"}])
    found = faults(hosts.four_functions(), text)
    (never,) = (f for f in found if f.check == "alias matches")
    assert "CUSTOM_A\\n\\x1b[2J" in never.detail


@pytest.mark.parametrize(
    ("trait", "since"),
    [("OWNER_NOVA", 34), ("HW_PCI_LIVE_MIGRATABLE", 34)],
)
def test_traits_that_nova_reports_itself(trait: str, since: int) -> None:
    tag = {"live_migratable": "yes"}
    text = FILTER + pci([CARD | tag], [GPU | {"traits": trait} | tag])
    for number in (since, since - 1):
        found = kinds(hosts.four_functions(), text, Release(number))
        is_missing = ("alias matches", FAIL) in found
        assert is_missing is (number < since)
