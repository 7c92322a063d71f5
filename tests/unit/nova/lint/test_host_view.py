"""Which entry lists which function, and when a rule applies."""

from __future__ import annotations

import itertools

import pytest

from gpu_passthrough_plugin.formats.nova_release import Feature, Release
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint import configuration, host_view
from gpu_passthrough_plugin.nova.lint.configuration import NovaConf
from gpu_passthrough_plugin.nova.lint.host_view import Condition, HostView
from tests.trees import hosts
from tests.trees.host import Host
from tests.unit.nova.lint.build import FILTER, REPORT, groups, pci


def view(host: Host, *specs: object, release: int = 34) -> HostView:
    conf = configuration.read([("nova.conf", pci(specs).encode())])
    return host_view.apply(conf, groups(host), Release(release))


def test_devices_are_as_nova_compute_sees_them() -> None:
    found = {
        str(d.address): d for d in view(hosts.virtual_functions()).devices
    }
    assert [*found] == sorted(found)
    virtual = found["0000:05:00.1"]
    assert virtual.device_type is DeviceType.VF
    assert virtual.physical == found["0000:05:00.0"].address
    assert found["0000:05:00.0"].device_type is DeviceType.PF
    assert found["0000:01:00.0"].device_type is DeviceType.PCI


def test_the_first_entry_that_matches_has_a_function() -> None:
    one, other, none = (
        {"address": "0000:04:00.*"},
        {"vendor_id": "10de"},
        {"address": "0000:09:00.0"},
    )
    found = view(hosts.four_functions(), one, other, none)
    counts = [(len(e.matched), len(e.taken)) for e in found.listed]
    assert counts == [(4, 4), (4, 0), (0, 0)]
    assert [a.line.place for a in found.assignable] == ["nova.conf:2"] * 4


def test_a_bridge_is_listed_and_not_assignable() -> None:
    found = view(hosts.four_functions(), {"address": "0000:00:01.0"})
    assert len(found.listed[0].taken) == 1
    assert found.assignable == ()


def test_a_physical_function_s_address_lists_its_virtual_ones() -> None:
    found = view(hosts.virtual_functions(), {"address": "0000:05:00.0"})
    addresses = [str(a.device.address) for a in found.assignable]
    assert addresses == ["0000:05:00.0", "0000:05:00.1", "0000:05:00.2"]


@pytest.mark.parametrize(
    ("required", "actual"),
    [*itertools.product([None, True, False], [True, False])],
)
def test_a_condition_on_an_option(required: bool | None, actual: bool) -> None:
    expected = required is None or required is actual
    empty = view(hosts.server())
    report = NovaConf(report_in_placement=actual)
    condition = Condition(report_in_placement=required)
    assert condition.holds(empty._replace(conf=report)) is expected
    placed = NovaConf(pci_in_placement=actual)
    condition = Condition(pci_in_placement=required)
    assert condition.holds(empty._replace(conf=placed)) is expected


@pytest.mark.parametrize(
    ("extra", "release", "expected"),
    [
        ("", 34, (False, False)),
        (REPORT, 34, (False, True)),
        (REPORT, 26, (False, False)),
        (FILTER, 34, (True, False)),
        (FILTER, 26, (False, False)),
        (f"{REPORT}[filter_scheduler]\nx = y\n", 34, (False, False)),
    ],
)
def test_who_asks_placement(
    extra: str, release: int, expected: tuple[bool, bool]
) -> None:
    """Where no file is the scheduler's, its options are not known."""
    conf = configuration.read([("nova.conf", extra.encode())])
    applied = host_view.apply(conf, groups(hosts.server()), Release(release))
    assert (applied.is_placed, applied.may_be_placed) == expected


def test_a_condition_on_the_release() -> None:
    condition = Condition(knows=Feature.SPEC_MANAGED)
    assert not condition.holds(view(hosts.server(), release=30))
    assert condition.holds(view(hosts.server(), release=31))
    condition = Condition(lacks=Feature.SPEC_MANAGED)
    assert condition.holds(view(hosts.server(), release=30))
    assert not condition.holds(view(hosts.server(), release=31))
