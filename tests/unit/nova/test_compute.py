"""Which functions of a host Nova may hand out, and as what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest

from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model import address, trait
from gpu_passthrough_plugin.model.unit import Unit
from gpu_passthrough_plugin.nova import compute, pools
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.trees import hosts
from tests.unit.nova.fleet import VIRTUAL, handed

PRIMARY, FULL = NovaOptions(), NovaOptions(mode=Mode.FULL)
ZED = NovaOptions(Release(26))
NICS = "15b3:1018"


def specs(host: ComputeHost, options: NovaOptions) -> list[DeviceSpec]:
    return [s for o in compute.offers(host, options) for s in o.specs]


def addresses(specs: Iterable[DeviceSpec]) -> list[str]:
    return [spec.address.single.removeprefix("0000:") for spec in specs]


def of(host: ComputeHost, *units: Unit) -> ComputeHost:
    return dataclasses.replace(host, units=units)


def test_one_function_stands_for_its_group() -> None:
    host = handed(hosts.four_functions())
    (spec,) = specs(host, NovaOptions(managed=False))
    assert str(spec) == (
        '{"address": "0000:04:00.0", "vendor_id": "10de",'
        ' "product_id": "1e87", "managed": "no"}'
    )


def test_full_mode_lists_every_endpoint_with_its_group() -> None:
    found = specs(handed(hosts.four_functions()), FULL)
    assert addresses(found) == ["04:00.0", "04:00.1", "04:00.2", "04:00.3"]
    tags = {"iommu_group": "0000:04:00.0", "iommu_group_size": "4"}
    assert all(spec.tags == tags for spec in found)


def test_virtual_functions_have_no_one_time_use() -> None:
    host = handed(hosts.virtual_functions(), "c1", *VIRTUAL)
    found = specs(host, NovaOptions(one_time_use=True))
    assert addresses(found) == ["04:00.0", "05:00.1", "05:00.2"]
    assert [spec.one_time_use for spec in found] == [True, None, None]


def test_virtual_functions_share_the_traits_that_all_have() -> None:
    host = handed(hosts.virtual_functions(), "c1", NICS)
    first, second = host.units
    both, one = frozenset({"CUSTOM_A"}), frozenset({"CUSTOM_A", "CUSTOM_B"})
    host = of(
        host,
        dataclasses.replace(first, traits=both),
        dataclasses.replace(second, traits=one),
    )
    assert [spec.traits for spec in specs(host, PRIMARY)] == [
        ("CUSTOM_A",)
    ] * 2


def test_one_unisolated_virtual_function_marks_all_of_its_kind() -> None:
    """A flavor forbids the mark, so that nobody gets what has it."""
    host = handed(hosts.virtual_functions(), "c1", NICS)
    first, second = host.units
    marked = frozenset({"CUSTOM_IOMMU_UNISOLATED", "CUSTOM_A"})
    host = of(
        host,
        dataclasses.replace(first, traits=marked),
        dataclasses.replace(second, traits=frozenset({"CUSTOM_A"})),
    )
    assert [spec.traits for spec in specs(host, PRIMARY)] == [
        ("CUSTOM_A", "CUSTOM_IOMMU_UNISOLATED")
    ] * 2


def test_the_physical_function_of_enabled_ones_is_not_listed() -> None:
    host = handed(hosts.virtual_functions(), "c1", "15b3:*")
    assert addresses(specs(host, PRIMARY)) == ["05:00.1", "05:00.2"]


def test_two_cards_in_a_group_have_a_class_of_their_own() -> None:
    both, single = specs(handed(hosts.shared_group()), PRIMARY)
    assert addresses([both]) == ["05:01.0"]
    own = "CUSTOM_PCI_10DE_1430_OF_10DE_1430_10DE_1431"
    assert [both.resource_class, single.resource_class] == [own, None]


def test_zed_cannot_tell_two_cards_from_one() -> None:
    host = handed(hosts.shared_group())
    assert addresses(specs(host, ZED)) == ["06:00.0"]
    (left,) = compute.left_out(host, ZED)
    assert left.unit == host.units[0]
    assert not compute.left_out(host, PRIMARY)


@pytest.mark.parametrize(
    ("number", "keys"),
    [
        (26, set()),
        (30, set()),
        (31, {"managed", "live_migratable"}),
        (32, {"managed", "live_migratable", "one_time_use"}),
    ],
)
def test_keys_by_release(number: int, keys: set[str]) -> None:
    options = NovaOptions(
        Release(number), managed=True, live_migratable=True, one_time_use=False
    )
    host = handed(hosts.four_functions(), acs=True)
    (spec,) = specs(host, options)
    names = ("managed", "live_migratable", "one_time_use")
    assert {n for n in names if getattr(spec, n) is not None} == keys
    assert bool(spec.traits) == (number > 26)


def test_an_acs_override_is_a_trait() -> None:
    assert trait.is_trait(trait.UNISOLATED)
    host = handed(hosts.four_functions(), acs=True)
    (unit,) = host.units
    given = dataclasses.replace(unit, traits=unit.traits | {"CUSTOM_A"})
    (spec,) = specs(of(host, given), PRIMARY)
    assert spec.traits == ("CUSTOM_A", trait.UNISOLATED)


def test_nova_takes_no_wide_domain() -> None:
    host = handed(hosts.four_functions())
    moved = tuple(
        dataclasses.replace(f, address=f.address._replace(domain=0x10000))
        for f in host.units[0].functions
    )
    unit = dataclasses.replace(host.units[0], functions=moved)
    host = of(host, unit)
    assert specs(host, PRIMARY) == []
    (left,) = compute.left_out(host, PRIMARY)
    assert "10000:04:00.0" in left.reason


def test_a_request_that_no_flavor_can_hold() -> None:
    unit = handed(hosts.four_functions()).units[0]
    many = tuple(
        dataclasses.replace(
            unit.functions[1],
            address=unit.functions[1].address._replace(bus=32 + number),
            product_id=number,
        )
        for number in range(20)
    )
    big = dataclasses.replace(unit, functions=unit.functions + many)
    assert "24 functions" in compute.reason(big, FULL)
    assert not compute.reason(big, PRIMARY)


def test_virtual_functions_that_are_one_unit() -> None:
    first, second = handed(hosts.virtual_functions(), "c1", NICS).units
    both = dataclasses.replace(
        first, functions=first.functions + second.functions
    )
    assert compute.reason(both, PRIMARY)
    assert not compute.reason(first, PRIMARY)


def test_a_switch_is_a_tag_where_it_is_shared() -> None:
    host = handed(hosts.shared_group())
    # Each card is below a root port of its own.
    assert [unit.switch for unit in host.units] == [None, None]
    tag = pools.SWITCH_TAG
    assert not any(tag in spec.tags for spec in specs(host, FULL))
    port = address.parse("0000:03:00.0")
    near = [dataclasses.replace(u, switch=port) for u in host.units]
    for options in (PRIMARY, FULL):
        found = specs(of(host, *near), options)
        assert {spec.tags[tag] for spec in found} == {"0000:03:00.0"}


def test_a_group_with_a_virtual_function_is_not_split_into_pools() -> None:
    host = handed(hosts.virtual_functions(), "c1", NICS)
    assert not any(spec.tags for spec in specs(host, FULL) if spec.tags.keys()
                   - {pools.SWITCH_TAG})  # fmt: skip
    first, second = host.units
    other = dataclasses.replace(second.functions[0], is_primary=False)
    both = dataclasses.replace(first, functions=(*first.functions, other))
    host = of(host, both)
    assert specs(host, FULL) == []
    assert len(specs(host, PRIMARY)) == 1


def test_the_traits_are_a_tag_too_for_the_filter() -> None:
    host = handed(hosts.four_functions(), acs=True)
    tag = pools.TRAITS_TAG
    assert {s.tags[tag] for s in specs(host, FULL)} == {trait.UNISOLATED}
    assert not any(tag in s.tags for s in specs(host, PRIMARY))
