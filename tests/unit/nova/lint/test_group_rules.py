"""Groups of a host that a configuration splits, or may not list."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.nova.lint import check, configuration
from tests.trees import hosts, reported
from tests.trees.host import Host
from tests.unit.flow.reported import answers
from tests.unit.nova.lint.build import FILTER, fault, faults, kinds, pci

FAIL = Status.FAIL
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
        (26, "", "pci_in_placement"),
        (34, "[filter_scheduler]\npci_in_placement = 0\n", "pci_in_placement"),
        (34, f"{FILTER}enabled_filters = A, PciPassthroughFilter\n",
         "IommuGroupFilter"),
    ],
)  # fmt: skip
def test_full_mode_without_what_it_needs(
    release: int, extra: str, datum: str
) -> None:
    text = extra + pci(FOUR)
    found = fault(hosts.four_functions(), text, Release(release))
    assert (found.check, found.status) == ("groups", FAIL)
    assert datum in found.detail


def test_full_mode_with_its_filter() -> None:
    text = f"{FILTER}enabled_filters = A,IommuGroupFilter\n{pci(FOUR)}"
    assert faults(hosts.four_functions(), text) == []


@pytest.mark.parametrize("address", ["0000:05:00.0", "*:05:00.*", "5:0.*"])
def test_a_physical_function_with_its_virtual_ones(address: str) -> None:
    host = hosts.virtual_functions()
    found = faults(host, pci([{"address": address}]))
    assert [f.check for f in found if f.status is FAIL] == ["sriov", "host"]
    (sriov,) = (f for f in found if f.check == "sriov")
    for function in ("0000:05:00.0", "0000:05:00.1", "0000:05:00.2"):
        assert function in sriov.detail
    exact = pci([{"address": address, "product_id": "1018"}])
    assert faults(host, exact) == []


def test_a_physical_function_of_neutron_s_goes_with_virtual_ones() -> None:
    specs = [
        {"product_id": "1017", "physical_network": "physnet0"},
        {"product_id": "1018"},
    ]
    found = faults(hosts.virtual_functions(), pci(specs))
    assert not [f for f in found if f.check == "sriov"]


def test_neutrons_physical_function_of_used_virtual_ones() -> None:
    host = reported.host(
        """
        05:00.0 0200 15b3:1017 group=1 driver=mlx5_core vfs=8/1
        05:00.1 0200 15b3:1018 group=2 driver=vfio-pci physical=05:00.0
        """
    )
    judged = tuple(answers.groups(host, answers.select("15b3:*")).values())
    rules = {r.rule for group in judged for r in group.verdict.reasons}
    assert rules == {"in-use"}
    spec = {"product_id": "1017", "physical_network": "physnet0"}
    conf = configuration.read([("nova.conf", pci([spec]).encode())])
    found = check.findings(conf, judged, Release(34))
    assert not [f for f in found if f.status is FAIL]


@pytest.mark.parametrize("value", ["yes", "no", None])
def test_virtual_functions_are_never_one_time(value: str | None) -> None:
    text = pci([{"product_id": "1018", "one_time_use": value}])
    found = kinds(hosts.virtual_functions(), text)
    assert found == [("sriov", FAIL)] * 2


def test_many_functions_are_some_and_a_number() -> None:
    entry = {"address": "*:*:*.*", "iommu_group": "x"}
    found = faults(hosts.shared_group(), pci([entry]))
    (shared,) = (f for f in found if "'x'" in f.detail)
    assert re.search(r" and \d more$", shared.detail)
