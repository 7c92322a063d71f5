"""Entries that list SR-IOV functions."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.nova.lint import check, configuration
from gpu_passthrough_plugin.nova.lint.virtual_function_rules import (
    POOLS,
    SRIOV,
)
from tests.trees import hosts, reported
from tests.unit.flow.reported import answers
from tests.unit.nova.lint.build import FILTER, REPORT, faults, kinds, pci

FAIL, WARN = Status.FAIL, Status.WARN
PHYSICAL = {"address": "0000:05:00.0"}
ONE, OTHER = ({"address": f"0000:05:00.{n}"} for n in (1, 2))


@pytest.mark.parametrize("address", ["0000:05:00.0", "*:05:00.*", "5:0.*"])
def test_a_physical_function_with_its_virtual_ones(address: str) -> None:
    """Without Placement Nova hands out the one or the others."""
    host = hosts.virtual_functions()
    text = pci([{"address": address}])
    assert not [f for f in faults(host, text) if f.status is FAIL]
    found = faults(host, FILTER + text)
    assert [f.check for f in found if f.status is FAIL] == ["sriov", "host"]
    (sriov,) = (f for f in found if f.check == SRIOV)
    for function in ("0000:05:00.0", "0000:05:00.1", "0000:05:00.2"):
        assert function in sriov.detail
    exact = pci([{"address": address, "product_id": "1018"}])
    assert faults(host, FILTER + exact) == []


def test_a_physical_function_without_its_virtual_ones_that_are_there() -> None:
    physical = PHYSICAL | {"product_id": "1017"}
    for specs in ([physical], [physical, ONE]):
        found = kinds(hosts.virtual_functions(), pci(specs))
        assert found == [("host", FAIL)]


@pytest.mark.parametrize("extra", ["", FILTER])
def test_a_physical_function_of_neutron_s_goes_with_virtual_ones(
    extra: str,
) -> None:
    specs = [
        {"product_id": "1017", "physical_network": "physnet0"},
        {"product_id": "1018"},
    ]
    assert faults(hosts.virtual_functions(), extra + pci(specs)) == []


def test_null_is_the_physical_network_of_overlays() -> None:
    """As in the charms' guide for OVN; Placement gets such functions."""
    text = pci([{"address": "*:05:*", "physical_network": None}])
    found = kinds(hosts.virtual_functions(), text)
    assert FAIL not in {status for _, status in found}
    found = kinds(hosts.virtual_functions(), REPORT + text)
    assert (SRIOV, FAIL) in found
    assert ("host", FAIL) not in found


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
    found = kinds(hosts.virtual_functions(), FILTER + text)
    assert found == [(SRIOV, FAIL)] * 2
    for extra, release in (("", 34), (FILTER, 31)):
        found = kinds(
            hosts.virtual_functions(), extra + text, Release(release)
        )
        assert (SRIOV, FAIL) not in found


@pytest.mark.parametrize(
    ("one", "other", "data"),
    [
        ({"resource_class": "a"}, {"resource_class": "b"},
         ("CUSTOM_A for 0000:05:00.1", "CUSTOM_B for 0000:05:00.2")),
        ({"resource_class": "a"}, {}, ("CUSTOM_PCI_15B3_1018",)),
        ({"traits": "a"}, {"traits": "b"}, ("CUSTOM_A", "CUSTOM_B")),
        ({"live_migratable": "yes"}, {"live_migratable": "no"},
         ("HW_PCI_LIVE_MIGRATABLE",)),
        ({"resource_class": "a"}, {"resource_class": "CUSTOM_A"}, ()),
        ({"traits": "a,b"}, {"traits": "b,a"}, ()),
        ({"resource_class": "a"},
         {"resource_class": "b", "physical_network": "c"}, ()),
    ],
)  # fmt: skip
def test_virtual_functions_of_one_physical_one_are_reported_alike(
    one: dict[str, str], other: dict[str, str], data: tuple[str, ...]
) -> None:
    text = pci([ONE | one, OTHER | other])
    for extra in (FILTER, REPORT, ""):
        found = [
            f
            for f in faults(hosts.virtual_functions(), extra + text)
            if f.check == SRIOV
        ]
        assert [f.status for f in found] == [FAIL] * bool(data and extra)
        for datum in data if extra else ():
            assert datum in found[0].detail


def test_older_releases_report_no_trait_of_migration() -> None:
    one, other = ({"live_migratable": value} for value in ("yes", "no"))
    text = REPORT + pci([ONE | one, OTHER | other])
    for number, is_refused in ((34, True), (33, False)):
        found = kinds(hosts.virtual_functions(), text, Release(number))
        assert (("sriov", FAIL) in found) is is_refused


@pytest.mark.parametrize(
    ("tag", "other", "is_one_pool"),
    [
        ({"live_migratable": "no"}, {}, False),
        ({"managed": "no"}, {"managed": "yes"}, False),
        ({"x": "a"}, {"x": "b"}, False),
        ({"live_migratable": "no"}, {"live_migratable": None}, False),
        ({"x": "a"}, {"x": "a"}, True),
        # The names are compared, too.
        ({"x": None}, {}, False),
        ({"physical_network": None}, {}, False),
        ({"traits": "a,b"}, {"traits": "b,a"}, True),
        ({"resource_class": "a"}, {"resource_class": "CUSTOM_A"}, True),
    ],
)
def test_nova_needs_one_pool_for_each_physical_function(
    tag: dict[str, object], other: dict[str, object], is_one_pool: bool
) -> None:
    """Source: nova, pci/stats.py (_assert_one_pool_per_rp_uuid), since 29."""
    text = pci([ONE | tag, OTHER | other])
    for extra, release, status in (
        (FILTER, 34, FAIL),
        (REPORT, 34, WARN),
        (FILTER, 29, FAIL),
        (FILTER, 28, None),
        ("", 34, None),
    ):
        found = [
            f.status
            for f in faults(
                hosts.virtual_functions(), extra + text, Release(release)
            )
            if f.check == POOLS
        ]
        assert found == [status] * (status is not None and not is_one_pool)


def test_a_key_that_the_release_does_not_know_is_compared_as_written() -> None:
    text = FILTER + pci([ONE | {"managed": "no"}, OTHER | {"managed": "off"}])
    for number, is_one_pool in ((31, True), (30, False)):
        found = kinds(hosts.virtual_functions(), text, Release(number))
        assert ((POOLS, FAIL) not in found) is is_one_pool


@pytest.mark.parametrize(
    ("entry", "is_refused"),
    [
        (PHYSICAL, True),
        (PHYSICAL | {"product_id": "1017"}, True),
        (PHYSICAL | {"product_id": "1019"}, True),
        (PHYSICAL | {"vendor_id": "8086", "product_id": "1018"}, True),
        # Nova looks for the ids of the virtual ones where it finds none.
        (PHYSICAL | {"product_id": "1018"}, True),
        ({"address": "*:05:00.*", "product_id": "1018"}, False),
        ({"address": "*:05:00.0"}, False),
        (ONE, False),
    ],
)
def test_a_dpu_manages_no_physical_function(
    entry: dict[str, str], is_refused: bool
) -> None:
    """Source: nova, pci/devspec.py (_init_dev_details)."""
    for value in ("true", "false"):
        text = pci([entry | {"remote_managed": value}])
        found = kinds(hosts.virtual_functions(), text)
        expected = is_refused and value == "true"
        assert (("values", FAIL) in found) is expected
