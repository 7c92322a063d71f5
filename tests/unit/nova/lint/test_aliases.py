"""Aliases with one fault each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Status
from tests.trees import hosts
from tests.trees.host import Host
from tests.unit.nova.lint.build import FILTER, faults, findings, pci

FAIL, WARN = Status.FAIL, Status.WARN
CARD = {"address": "0000:04:00.0"}
GPU = {"name": "gpu", "vendor_id": "10de", "product_id": "1e87",
       "device_type": "type-PCI"}  # fmt: skip
FLEX = {"name": "flex", "vendor_id": "8086", "product_id": "56c0",
        "device_type": "type-PF"}  # fmt: skip


def without(entry: dict[str, str], key: str) -> dict[str, str]:
    return {k: v for k, v in entry.items() if k != key}


@pytest.mark.parametrize(
    ("alias", "check", "status", "said"),
    [
        (GPU | {"device_type": "type-PF"}, "alias matches", FAIL,
         "it says type-PF, and 0000:04:00.0 shows up as type-PCI"),
        (GPU | {"product_id": "ffff"}, "alias matches", WARN,
         "no function of this host is 10de:ffff"),
        (GPU | {"product_id": "10f8"}, "alias matches", WARN,
         "no device_spec lists 10de:10f8, which is here"),
        (GPU | {"resource_class": "big"}, "alias matches", FAIL,
         "asks Placement for CUSTOM_BIG, and device_spec offers CUSTOM_PCI_"),
        (GPU | {"traits": "CUSTOM_BLUE"}, "alias matches", FAIL,
         "no device_spec gives it CUSTOM_BLUE"),
        (GPU | {"live_migratable": "yes"}, "alias matches", FAIL,
         "no device_spec says live_migratable yes"),
        (without(GPU, "device_type"), "aliases", WARN, "has no device_type"),
        (without(GPU, "vendor_id"), "aliases", FAIL, "neither both ids nor"),
        (GPU | {"vendor_id": "0x10de"}, "aliases", FAIL, "4 hex digits"),
        (GPU | {"class": "03"}, "aliases", FAIL, "'class' is no key"),
        (GPU | {"numa_policy": "near"}, "aliases", FAIL, "wanted one of"),
    ],
)  # fmt: skip
def test_an_alias_with_one_fault(
    alias: dict[str, str], check: str, status: Status, said: str
) -> None:
    text = pci([CARD], [alias])
    (found,) = (
        f
        for f in findings(hosts.four_functions(), text)
        if f.status is not Status.PASS
    )
    assert (found.check, found.status) == (check, status)
    assert said in found.detail
    assert found.where == "nova.conf:3"


@pytest.mark.parametrize(
    "alias",
    [FLEX | {"device_type": "type-PCI"}, without(FLEX, "device_type")],
)
def test_a_card_that_can_do_sriov_is_a_physical_function(
    alias: dict[str, str],
) -> None:
    found = findings(hosts.virtual_functions(), pci([CARD], [alias]))
    (never,) = (f for f in found if f.check == "alias matches")
    assert never.status is FAIL
    assert never.remedy == 'say "device_type": "type-PF"'


@pytest.mark.parametrize(
    ("other", "extra", "said"),
    [
        (GPU, "", ""),
        (GPU, FILTER, "pci_in_placement does not allow"),
        (GPU | {"numa_policy": "socket"}, "", "numa_policy legacy and socket"),
        (GPU | {"device_type": "type-VF"}, "", "device_type type-PCI and"),
        (without(GPU, "device_type"), "", "not each time with a device_type"),
        (GPU | {"name": " gpu "}, FILTER, "pci_in_placement"),
    ],
)
def test_aliases_of_one_name(
    other: dict[str, str], extra: str, said: str
) -> None:
    text = extra + pci([CARD], [GPU, other])
    found = [
        f.detail
        for f in findings(hosts.four_functions(), text)
        if (f.check, f.status) == ("alias names", FAIL)
    ]
    assert len(found) == bool(said)
    assert all(said in detail for detail in found)


@pytest.mark.parametrize(
    ("spec", "alias"),
    [
        ({"resource_class": "big gpu"}, {"resource_class": "BIG_GPU"}),
        ({"traits": "blue,HW_GPU_API_VULKAN"}, {"traits": "CUSTOM_BLUE"}),
        ({}, {"traits": "COMPUTE_MANAGED_PCI_DEVICE"}),
        ({"live_migratable": "on"}, {"live_migratable": "1"}),
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
    assert faults(hosts.four_functions(), pci([spec], [GPU])) == []
    text = FILTER + pci([spec], [GPU])
    assert faults(hosts.four_functions(), text) == [("alias matches", FAIL)]


@pytest.mark.parametrize(
    ("release", "key", "value"),
    [(26, "resource_class", "A"), (26, "traits", "CUSTOM_A"),
     (30, "live_migratable", "no")],
)  # fmt: skip
def test_keys_that_a_release_refuses(
    release: int, key: str, value: str
) -> None:
    text = pci([], [GPU | {key: value}])
    host: Callable[[], Host] = hosts.four_functions
    assert faults(host(), text, Release(release)) == [("aliases", FAIL)]
    assert faults(host(), text, Release(31)) == []


def test_a_space_in_a_trait() -> None:
    text = pci([], [GPU | {"traits": "CUSTOM_A, CUSTOM_B"}])
    assert faults(hosts.four_functions(), text) == [("traits", FAIL)]


def test_a_class_for_ids_needs_placement() -> None:
    alias = {"name": "a", "resource_class": "A", "device_type": "type-PCI"}
    off = "[filter_scheduler]\npci_in_placement = False\n"
    for text, wanted in ((off, [("aliases", FAIL)]), (FILTER, [])):
        text += pci([], [alias])
        assert faults(hosts.four_functions(), text) == wanted


@pytest.mark.parametrize("key", ["resource_class", "traits"])
def test_names_with_lines_in_them_are_shown_in_one(key: str) -> None:
    text = pci([CARD], [GPU | {key: "CUSTOM_A\n\x1b[2J"}])
    found = findings(hosts.four_functions(), text)
    (never,) = (f for f in found if f.check == "alias matches")
    assert "CUSTOM_A\\n\\x1b[2J" in never.detail


@pytest.mark.parametrize(
    "other", [{"resource_class": "BIG"}, {"device_type": "type-PF"}]
)
def test_an_alias_of_another_host_is_no_fault(other: dict[str, str]) -> None:
    """All hosts have the same aliases, and cards may differ by host."""
    theirs = GPU | {"name": "theirs"} | other
    text = FILTER + pci([CARD], [GPU, theirs])
    (found,) = (
        f
        for f in findings(hosts.four_functions(), text)
        if f.status is not Status.PASS
    )
    assert (found.check, found.status) == ("alias matches", WARN)
    assert found.detail.startswith("alias 'theirs' finds nothing here: it ")
    # Where nothing else finds the card, it is one.
    text = FILTER + pci([CARD], [theirs])
    assert faults(hosts.four_functions(), text) == [("alias matches", FAIL)]


def test_ids_that_are_not_here_are_to_be_compared() -> None:
    """Whether or not another alias finds all that is listed."""
    for others in ([], [GPU]):
        text = pci(
            [CARD], [*others, GPU | {"name": "a", "product_id": "f" * 4}]
        )
        found = findings(hosts.four_functions(), text)
        (odd,) = (f for f in found if f.status is not Status.PASS)
        assert odd.status is WARN
        assert odd.remedy.startswith("compare it with")
