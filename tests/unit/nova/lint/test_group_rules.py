"""Groups of a host that a configuration splits, or may not list."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Status
from tests.trees import hosts
from tests.trees.host import Host
from tests.unit.nova.lint.build import (
    FILTER,
    REPORT,
    fault,
    faults,
    kinds,
    pci,
)

FAIL, WARN = Status.FAIL, Status.WARN
DISPLAY = {"address": "0000:04:00.0"}
FOUR = [{"address": f"0000:04:00.{n}", "iommu_group": "a"} for n in range(4)]


@pytest.mark.parametrize(
    ("host", "specs", "check", "datum"),
    [
        (hosts.four_functions, FOUR[:2], "groups",
         "nova.conf:2, nova.conf:3: lists 0000:04:00.0, 0000:04:00.1"),
        (hosts.four_functions, [{"address": "0000:04:00.1"}], "groups",
         "companion of 0000:04:00.0"),
        (hosts.four_functions, [{"address": "0000:04:00"}], "groups",
         "group 20"),
        (hosts.four_functions, [*FOUR[:3], FOUR[3] | {"iommu_group": "b"}],
         "groups", "iommu_group"),
        (hosts.four_functions, [s | {"iommu_group_size": "3"} for s in FOUR],
         "groups", "iommu_group_size"),
        (hosts.shared_group,
         [{"address": "0000:05:01.0", "iommu_group": "x"},
          {"address": "0000:06:00.0", "iommu_group": "x"}],
         "groups", "'x'"),
        (hosts.four_functions, [{"address": "0000:01:00.0"}], "host",
         "0000:01:00.0"),
        (hosts.four_functions, [{"address": "0000:03:00.0"}], "host",
         "0000:03:00.0"),
        (hosts.four_functions, [DISPLAY, {"address": "0000:00:01.0"}],
         "bridges", "0000:00:01.0"),
    ],
)  # fmt: skip
def test_an_entry_with_one_fault(
    host: Callable[[], Host], specs: list[object], check: str, datum: str
) -> None:
    found = fault(host(), pci(specs))
    assert (found.check, found.status) == (check, FAIL)
    assert datum in f"{found.where}: {found.detail}"
    assert found.remedy


def test_every_reason_why_a_group_is_refused_is_reported_once() -> None:
    found = faults(hosts.dead_card(), pci([DISPLAY, DISPLAY]))
    host = [f for f in found if f.check == "host"]
    assert [f.where for f in host] == ["nova.conf:2"] * 2
    assert "0000:04:00.1" in host[1].detail


def test_one_function_stands_for_a_group_of_two_cards() -> None:
    for address in ("0000:05:01.0", "0000:05:02.0"):
        assert faults(hosts.shared_group(), pci([{"address": address}])) == []


@pytest.mark.parametrize(
    ("release", "extra", "datum"),
    [
        (26, REPORT, "pci_in_placement"),
        (34, f"{REPORT}[filter_scheduler]\npci_in_placement = 0\n",
         "pci_in_placement"),
        (34, "", "reported to Placement"),
        (34, FILTER.replace("= True", "= False", 1), "reported to Placement"),
        (34, f"{FILTER}enabled_filters = PciPassthroughFilter\n",
         "IommuGroupFilter"),
        (34, f"{REPORT}[filter_scheduler]\npci_in_placement = yes\n",
         "IommuGroupFilter"),
        (34, f"{FILTER}enabled_filters = PciPassthroughFilter,"
             "IommuGroupFilter\n", "after"),
        (34, f"{FILTER}enabled_filters = NUMATopologyFilter,IommuGroupFilter,"
             "PciPassthroughFilter\n", "after"),
    ],
)  # fmt: skip
def test_full_mode_without_what_it_needs(
    release: int, extra: str, datum: str
) -> None:
    text = extra + pci(FOUR)
    found = [
        f
        for f in faults(hosts.four_functions(), text, Release(release))
        if f.check == "groups"
    ]
    assert [f.status for f in found] == [FAIL]
    assert datum in found[0].detail


def test_full_mode_with_its_filter() -> None:
    assert faults(hosts.four_functions(), FILTER + pci(FOUR)) == []
    # On a compute host the scheduler's options are in no file.
    found = kinds(hosts.four_functions(), REPORT + pci(FOUR))
    assert found == [("placement", WARN)]


def test_many_functions_are_some_and_a_number() -> None:
    entry = {"address": "*:*:*.*", "iommu_group": "x"}
    found = faults(hosts.shared_group(), pci([entry]))
    (shared,) = (f for f in found if "'x'" in f.detail)
    assert re.search(r" and \d more$", shared.detail)
