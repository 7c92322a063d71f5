"""Described hosts, and the files that they make."""

from __future__ import annotations

import configparser
import dataclasses
import json
import shlex
from collections.abc import Iterable

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import nova_alias
from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.nova import compute, control_plane, render
from gpu_passthrough_plugin.nova.compute import ComputeHost, has_acs_override
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.trees import hosts
from tests.unit.nova.fleet import cards, handed

FULL = NovaOptions(mode=Mode.FULL)
ZED = NovaOptions(Release(26))
VIRTUAL = ("class=03", "15b3:1018")


def values(text: str, key: str) -> list[str]:
    return [
        line.partition(" = ")[2]
        for line in text.splitlines()
        if line.startswith(f"{key} = ")
    ]


def said(text: str) -> str:
    """What its comments say, in one line."""
    lines = [ln[2:] for ln in text.splitlines() if ln.startswith("# ")]
    return " ".join(lines)


def specs(host: ComputeHost, options: NovaOptions) -> list[dict[str, str]]:
    text = render.compute_file(host, options)
    return [json.loads(value) for value in values(text, "device_spec")]


def addresses(entries: Iterable[dict[str, str]]) -> list[str]:
    return [entry["address"].removeprefix("0000:") for entry in entries]


def properties(host: ComputeHost, options: NovaOptions) -> list[str]:
    text = render.flavors_file([host], options)
    return [
        shlex.split(line)[10].removeprefix("pci_passthrough:alias=")
        for line in text.splitlines()
        if line.startswith("openstack flavor create ")
    ]


def test_one_function_stands_for_its_group() -> None:
    host = handed(hosts.four_functions())
    assert render.compute_file(host, NovaOptions(managed=False)) == (
        "# For nova-compute on c1, Nova 34 (2026.2), primary mode. It reads"
        " its devices\n# once: restart it after a change. The first entry"
        " that matches a device wins,\n# so none of another origin may match"
        " these.\n"
        "[pci]\n"
        "# Set it on every compute host before [filter_scheduler]"
        " pci_in_placement.\n# Nova does not take it back.\n"
        "report_in_placement = true\n"
        "\n"
        "# IOMMU group 20; reserved with it, never listed: 0000:04:00.1,"
        " 0000:04:00.2,\n# 0000:04:00.3.\n"
        'device_spec = {"address": "0000:04:00.0", "vendor_id": "10de",'
        ' "product_id": "1e87", "managed": "no"}\n'
        "\n"
        "# Left out: 0000:03:00.0 (IOMMU group 12): 0000:03:00.0 is the"
        " display of the\n# host's management controller.\n"
    )
    assert properties(host, NovaOptions()) == ["gpu-10de-1e87:1"]


def test_full_mode_lists_every_endpoint_with_its_group() -> None:
    host = handed(hosts.four_functions())
    found = specs(host, FULL)
    assert addresses(found) == ["04:00.0", "04:00.1", "04:00.2", "04:00.3"]
    assert {entry["iommu_group"] for entry in found} == {"0000:04:00.0"}
    assert {entry["iommu_group_size"] for entry in found} == {"4"}
    assert properties(host, FULL) == [
        "gpu-10de-1e87:1,pci-10de-10f8:1,pci-10de-1ad8:1,pci-10de-1ad9:1"
    ]


def test_primary_mode_has_no_tag() -> None:
    (entry,) = specs(handed(hosts.four_functions()), NovaOptions())
    assert entry.keys() == {"address", "vendor_id", "product_id"}


def test_a_physical_function_is_asked_for_as_one() -> None:
    host = handed(hosts.virtual_functions())
    assert addresses(specs(host, NovaOptions())) == ["04:00.0"]
    (line,) = values(render.alias_file([host], NovaOptions()), "alias")
    assert json.loads(line)["device_type"] == "type-PF"
    assert properties(host, NovaOptions()) == ["gpu-8086-56c0-pf:1"]


def test_virtual_functions_have_no_one_time_use() -> None:
    options = NovaOptions(one_time_use=True)
    host = handed(hosts.virtual_functions(), "c1", *VIRTUAL)
    found = specs(host, options)
    assert addresses(found) == ["04:00.0", "05:00.1", "05:00.2"]
    assert [entry.get("one_time_use") for entry in found] == [
        "yes",
        None,
        None,
    ]
    text = said(render.compute_file(host, options))
    assert text.count("one_time_use, which no virtual function may") == 2


def test_a_trait_that_not_every_virtual_function_has() -> None:
    host = handed(hosts.virtual_functions(), "c1", "15b3:1018")
    first, second = host.units
    both, one = frozenset({"CUSTOM_A"}), frozenset({"CUSTOM_A", "CUSTOM_B"})
    host = dataclasses.replace(
        host,
        units=(
            dataclasses.replace(first, traits=both),
            dataclasses.replace(second, traits=one),
        ),
    )
    assert [e["traits"] for e in specs(host, NovaOptions())] == [
        "CUSTOM_A"
    ] * 2
    text = said(render.compute_file(host, NovaOptions()))
    assert "IOMMU group 23; left out: CUSTOM_B, which not every" in text


def test_the_physical_function_of_enabled_ones_is_not_listed() -> None:
    host = handed(hosts.virtual_functions(), "c1", "15b3:*")
    assert addresses(specs(host, NovaOptions())) == ["05:00.1", "05:00.2"]
    text = said(render.compute_file(host, NovaOptions()))
    assert "0000:05:00.0 has 2 virtual functions enabled" in text


def test_two_cards_in_a_group_are_a_class_of_their_own() -> None:
    host = handed(hosts.shared_group())
    two, one = specs(host, NovaOptions())
    own = "CUSTOM_PCI_10DE_1430_OF_10DE_1430_10DE_1431"
    assert two["address"] == "0000:05:01.0"
    assert two["resource_class"] == own
    assert "resource_class" not in one
    lines = values(render.alias_file([host], NovaOptions()), "alias")
    assert [json.loads(ln).get("resource_class") for ln in lines] == [
        own,
        None,
    ]
    assert "2 primaries as one" in render.compute_file(host, NovaOptions())


def test_two_cards_whole() -> None:
    host = handed(hosts.shared_group())
    found = specs(host, FULL)[:4]
    assert addresses(found) == ["05:01.0", "05:01.1", "05:02.0", "05:02.1"]
    of = "_OF_10DE_1430_10DE_1431"
    assert [entry["resource_class"] for entry in found] == [
        f"CUSTOM_PCI_10DE_1430{of}",
        f"CUSTOM_PCI_10DE_0FBA{of}",
        f"CUSTOM_PCI_10DE_1431{of}",
        f"CUSTOM_PCI_10DE_0FBA{of}",
    ]
    of = of.lower().replace("_", "-")
    assert properties(host, FULL)[0] == (
        f"gpu-10de-1430{of}:1,gpu-10de-1431{of}:1,pci-10de-0fba{of}:2"
    )
    assert [flavor.name for flavor in control_plane.flavors([host], FULL)] == [
        f"gpu-10de-1430{of}+gpu-10de-1431+pci-10de-0fba-x2",
        "gpu-10de-24b0+pci-10de-228b",
    ]


def test_zed_cannot_tell_two_cards_from_one() -> None:
    host = handed(hosts.shared_group())
    assert addresses(specs(host, ZED)) == ["06:00.0"]
    text = said(render.compute_file(host, ZED))
    assert "0000:05:01.0 (IOMMU group 20): it has 2 primaries" in text


def test_what_zed_lacks_is_said_and_not_written() -> None:
    options = NovaOptions(Release(26), managed=False, one_time_use=True)
    host = handed(hosts.four_functions(), acs=True)
    text = render.compute_file(host, options)
    assert specs(host, options) == [
        {
            "address": "0000:04:00.0",
            "vendor_id": "10de",
            "product_id": "1e87",
        }
    ]
    assert "report_in_placement = " not in text
    for words in (
        "has no managed of a device_spec, which came with 31.",
        "has no one_time_use of a device_spec, which came with 32.",
        "Left out: report_in_placement.",
        "Left out: traits.",
    ):
        assert words in said(text)
    assert "pci_in_placement =" not in render.scheduler_file(options)


@pytest.mark.parametrize(
    ("number", "keys"),
    [
        (30, set()),
        (31, {"managed", "live_migratable"}),
        (32, {"managed", "live_migratable", "one_time_use"}),
    ],
)
def test_keys_by_release(number: int, keys: set[str]) -> None:
    options = NovaOptions(
        Release(number), managed=True, live_migratable=True, one_time_use=False
    )
    host = handed(hosts.four_functions())
    (entry,) = specs(host, options)
    assert entry.keys() == {"address", "vendor_id", "product_id"} | keys
    (line,) = values(render.alias_file([host], options), "alias")
    assert ("live_migratable" in line) == (number >= 31)


def test_full_mode_needs_placement() -> None:
    with pytest.raises(errors.Refused, match="use primary mode"):
        NovaOptions(Release(26), Mode.FULL)
    assert NovaOptions(Release(27), Mode.FULL).release.has_placement


def test_an_acs_override_is_a_trait() -> None:
    assert has_acs_override(("quiet", "pcie_acs_override=downstream"))
    assert not has_acs_override(("quiet", "x.pcie_acs_override=downstream"))
    assert trait.is_trait(compute.ACS_OVERRIDE)
    host = handed(hosts.four_functions(), acs=True)
    given = dataclasses.replace(host.units[0], traits=frozenset({"CUSTOM_A"}))
    host = dataclasses.replace(host, units=(given,))
    (entry,) = specs(host, NovaOptions())
    assert entry["traits"] == "CUSTOM_A,CUSTOM_PCI_ACS_OVERRIDE"


def test_nova_takes_no_wide_domain() -> None:
    unit = handed(hosts.four_functions()).units[0]
    moved = tuple(
        dataclasses.replace(f, address=f.address._replace(domain=0x10000))
        for f in unit.functions
    )
    unit = dataclasses.replace(unit, functions=moved)
    host = ComputeHost("c1", (unit,))
    assert not specs(host, NovaOptions())
    text = said(render.compute_file(host, NovaOptions()))
    assert "the domain of 10000:04:00.0 is above ffff" in text
    assert not control_plane.aliases([host], NovaOptions())


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
    assert "longer than 255" in compute.reason(big, FULL)
    assert not compute.reason(big, NovaOptions())


def test_virtual_functions_that_are_one_unit() -> None:
    first, second = handed(hosts.virtual_functions(), "c1", "15b3:1018").units
    both = dataclasses.replace(
        first, functions=first.functions + second.functions
    )
    assert "one resource class" in compute.reason(both, NovaOptions())
    assert not compute.reason(first, NovaOptions())


def test_ways_to_take_two_of_a_kind() -> None:
    host = handed(hosts.shared_group())
    twice = dataclasses.replace(
        host.units[0], key=host.units[0].key._replace(host="c0")
    )
    # Both of two, both of two, and four of four audio functions in order.
    assert control_plane.most_candidates(
        [ComputeHost("c1", (host.units[0], twice))], FULL
    ) == 2 * 2 * (4 * 3 * 2)
    # Where there is no second, one of one, and two of two.
    one = ComputeHost("c1", (host.units[0],))
    assert control_plane.most_candidates([one], FULL) == 1 * 1 * 2


def test_a_wide_host_needs_placement_tuned() -> None:
    wide = [handed(cards(8))]
    assert control_plane.most_candidates(wide, FULL) == (8 * 7) ** 4
    assert control_plane.placement_options(wide, FULL) == {
        "placement": {
            "max_allocation_candidates": "1000",
            "allocation_candidates_generation_strategy": "breadth-first",
        },
        "workarounds": {"optimize_for_wide_provider_trees": "true"},
    }
    older = NovaOptions(Release(32), Mode.FULL)
    assert control_plane.placement_options(wide, older).keys() == {"placement"}
    text = render.placement_file(wide, older)
    assert "no [workarounds] optimize_for_wide_provider_trees" in said(text)
    assert control_plane.placement_options(wide, NovaOptions())
    narrow = [handed(cards(2))]
    assert control_plane.most_candidates(narrow, FULL) == 2**4
    assert not control_plane.placement_options(narrow, FULL)
    text = render.placement_file(narrow, FULL)
    assert "Nothing has to be changed" in text
    old = NovaOptions(Release(27), Mode.FULL)
    assert not control_plane.placement_options(wide, old)
    text = render.placement_file(wide, old)
    assert "no [placement] max_allocation_candidates" in said(text)


def test_our_filter_is_before_novas() -> None:
    mine = ("ComputeFilter", control_plane.PCI_FILTER, "NUMATopologyFilter")
    assert control_plane.filters(NovaOptions(), mine) == mine
    whole = control_plane.filters(FULL, mine)
    assert whole == (mine[0], "IommuGroupFilter", *mine[1:])
    assert control_plane.filters(FULL, whole) == whole
    assert control_plane.filters(NovaOptions(), whole) == mine
    text = render.scheduler_file(FULL, mine)
    assert values(text, "available_filters") == [
        "nova.scheduler.filters.all_filters",
        control_plane.GROUP_FILTER_PATH,
    ]
    assert values(text, "enabled_filters") == [",".join(whole)]
    assert values(text, "weight_classes") == [
        f"nova.scheduler.weights.all_weighers,{control_plane.WEIGHER}"
    ]


def test_primary_mode_needs_nothing_of_ours_in_the_scheduler() -> None:
    text = render.scheduler_file(NovaOptions())
    options = [ln for ln in text.splitlines() if not ln.startswith("#")]
    assert "gpu_passthrough" not in "".join(options)
    assert f"# available_filters = {control_plane.GROUP_FILTER_PATH}\n" in text
    assert "weigher" not in render.scheduler_file(ZED)


def test_a_switch_is_a_tag_where_it_is_shared() -> None:
    host = handed(hosts.shared_group())
    below = [unit.switch for unit in host.units]
    assert [str(switch) for switch in below] == [
        "0000:00:04.0",
        "0000:00:05.0",
    ]
    assert not any("pci_switch" in entry for entry in specs(host, FULL))
    near = [dataclasses.replace(u, switch=below[0]) for u in host.units]
    host = dataclasses.replace(host, units=tuple(near))
    for options in (NovaOptions(), FULL):
        tags = {entry["pci_switch"] for entry in specs(host, options)}
        assert tags == {"0000:00:04.0"}


def test_a_group_with_a_virtual_function_is_not_split_into_pools() -> None:
    host = handed(hosts.virtual_functions(), "c1", "15b3:1018")
    for entry in specs(host, FULL):
        assert not any(key.startswith("iommu_group") for key in entry)
    first, second = host.units
    other = dataclasses.replace(second.functions[0], is_primary=False)
    both = dataclasses.replace(first, functions=(*first.functions, other))
    host = dataclasses.replace(host, units=(both,))
    assert specs(host, FULL) == []
    text = said(render.compute_file(host, FULL))
    assert "list it in primary mode" in text
    assert len(specs(host, NovaOptions())) == 1


def test_the_traits_are_said_once_more_for_the_filter() -> None:
    host = handed(hosts.four_functions(), acs=True)
    found = specs(host, FULL)
    assert {e["iommu_group_traits"] for e in found} == {compute.ACS_OVERRIDE}
    assert "iommu_group_traits" not in specs(host, NovaOptions())[0]


def test_hosts_merge_without_a_clash() -> None:
    fleet = [
        handed(hosts.four_functions(), "c1"),
        handed(cards(8), "c2"),
        handed(hosts.shared_group(), "c3"),
        handed(hosts.virtual_functions(), "c4", *VIRTUAL),
    ]
    for options in (NovaOptions(), FULL):
        lines = values(render.alias_file(fleet, options), "alias")
        known = nova_alias.parse_aliases(lines)
        assert len(known) == len(lines)
        for flavor in control_plane.flavors(fleet, options):
            assert {name for name, _ in flavor.items} <= known.keys()


def test_ini_can_be_read() -> None:
    host = handed(hosts.shared_group(), acs=True)
    for text, section in (
        (render.compute_file(host, FULL), "pci"),
        (render.alias_file([host], FULL), "pci"),
        (render.scheduler_file(FULL), "filter_scheduler"),
        (render.placement_file([host], FULL), "placement"),
    ):
        read = configparser.RawConfigParser(strict=False)
        read.read_string(text)
        assert read.sections() == [section]


def test_a_name_cannot_leave_its_comment() -> None:
    host = ComputeHost("c1\n[DEFAULT]\ndebug = true", ())
    text = render.compute_file(host, NovaOptions())
    assert "\n[DEFAULT]" not in text
    assert "No group of this host can be handed out" in text


def test_what_placement_is_told_of_hosts() -> None:
    options = NovaOptions(host_trait="CUSTOM_GPU_HOST")
    assert "\n        - CUSTOM_GPU_HOST\n" in render.provider_file(
        "CUSTOM_GPU_HOST"
    )
    made = render.flavors_file([handed(hosts.four_functions())], options)
    assert " --property trait:CUSTOM_GPU_HOST=required gpu-10de-1e87\n" in made
