"""Aliases with one fault each, whatever the host has."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Status
from tests.trees import hosts
from tests.unit.nova.lint.build import (
    FILTER,
    GPU,
    REPORT,
    SCHEDULER,
    fault,
    faults,
    kinds,
    pci,
    without,
)

FAIL, WARN = Status.FAIL, Status.WARN
CARD = {"address": "0000:04:00.0"}
OFF = "[filter_scheduler]\npci_in_placement = False\n"


@pytest.mark.parametrize(
    ("alias", "status"),
    [
        (without(GPU, "device_type"), WARN),
        (without(GPU, "vendor_id"), FAIL),
        (GPU | {"vendor_id": "0x10de"}, FAIL),
        (GPU | {"class": "03"}, FAIL),
    ],
)
def test_an_alias_with_one_fault(
    alias: dict[str, str], status: Status
) -> None:
    found = fault(hosts.four_functions(), pci([CARD], [alias]))
    assert (found.check, found.status) == ("aliases", status)
    assert found.where == "nova.conf:3"


@pytest.mark.parametrize(
    ("other", "extra", "datum"),
    [
        (GPU, "", ""),
        (GPU, FILTER, "pci_in_placement"),
        (GPU | {"numa_policy": "socket"}, "", "numa_policy legacy and socket"),
        (GPU | {"device_type": "type-VF"}, "", "type-PCI and type-VF"),
        (without(GPU, "device_type"), "", "device_type"),
        (GPU | {"name": " gpu "}, FILTER, "pci_in_placement"),
    ],
)
def test_aliases_of_one_name(
    other: dict[str, str], extra: str, datum: str
) -> None:
    text = extra + pci([CARD], [GPU, other])
    first = 3 + extra.count("\n")
    found = [
        f
        for f in faults(hosts.four_functions(), text)
        if f.check == "alias names"
    ]
    assert len(found) == bool(datum)
    for one in found:
        assert one.status is FAIL
        assert one.where == f"nova.conf:{first}, nova.conf:{first + 1}"
        assert datum in one.detail


@pytest.mark.parametrize(
    ("release", "key", "value"),
    [(26, "resource_class", "A"), (26, "traits", "CUSTOM_A"),
     (30, "live_migratable", "no")],
)  # fmt: skip
def test_keys_that_a_release_refuses(
    release: int, key: str, value: str
) -> None:
    spec = CARD | {"live_migratable": "no"}
    text = SCHEDULER + pci([spec], [GPU | {key: value}])
    for number in (release, 31):
        found = [
            f
            for f in faults(hosts.four_functions(), text, Release(number))
            if f.check == "aliases"
        ]
        assert [f.status for f in found] == [FAIL] * (number == release)
        assert all(key in f.detail for f in found)


def test_a_class_for_ids_needs_placement() -> None:
    """Also where no file says so: nova-compute does not start then."""
    alias = {"name": "a", "resource_class": "A", "device_type": "type-PCI"}
    text = pci([CARD | {"resource_class": "A"}], [alias])
    for extra in (OFF, "", REPORT):
        found = kinds(hosts.four_functions(), extra + text)
        assert ("aliases", FAIL) in found
    assert faults(hosts.four_functions(), FILTER + text) == []
    # Until 30 every card matches instead.
    found = kinds(hosts.four_functions(), text, Release(30))
    assert [f for f in found if f[1] is FAIL] == [("alias matches", FAIL)]


@pytest.mark.parametrize("key", ["vendor_id", "product_id"])
def test_both_ids_are_needed_since_31(key: str) -> None:
    text = pci([CARD], [without(GPU, key)])
    for number, status in ((30, WARN), (31, FAIL)):
        found = fault(hosts.four_functions(), text, Release(number))
        assert (found.check, found.status) == ("aliases", status)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("", [("aliases", WARN)]),
        (OFF, [("aliases", WARN)]),
        # The scheduler's files may turn it on.
        (REPORT, [("placement", WARN), ("alias matches", WARN)]),
        (FILTER, [("alias matches", FAIL)]),
    ],
)
@pytest.mark.parametrize(
    "change", [{"traits": "HW_GPU_API_VULKAN"}, {"resource_class": "BIG"}]
)
def test_classes_and_traits_are_ignored_without_placement(
    change: dict[str, str], extra: str, expected: list[tuple[str, Status]]
) -> None:
    """Source: nova, pci/stats.py (ignored_spec_tags)."""
    text = extra + pci([CARD], [GPU | change])
    found = kinds(hosts.four_functions(), text)
    assert [f for f in found if f[0] != "filters"] == expected


@pytest.mark.parametrize(
    ("name", "separators"),
    [("a:b", ":"), ("a,b", ","), ("a,b:1", ": and ,"), ("a b-c.d", "")],
)
def test_an_alias_that_no_flavor_can_name(name: str, separators: str) -> None:
    """Source: nova, pci/request.py (_translate_alias_to_requests)."""
    found = faults(hosts.four_functions(), pci([CARD], [GPU | {"name": name}]))
    assert [(f.check, f.status) for f in found] == (
        [("alias matches", FAIL)] if separators else []
    )
    assert all(f.detail.endswith(separators) for f in found)
