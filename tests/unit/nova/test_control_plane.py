"""What the control plane needs for all hosts together."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.formats import nova_alias
from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova import control_plane, naming
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.trees import hosts
from tests.unit.nova.fleet import VIRTUAL, cards, handed

PRIMARY, FULL = NovaOptions(), NovaOptions(mode=Mode.FULL)


def requests(host: ComputeHost, options: NovaOptions) -> list[str]:
    """The ``pci_passthrough:alias`` of each flavor."""
    found = control_plane.flavors([host], options)
    return [naming.alias_text(flavor.items) for flavor in found]


def test_one_flavor_a_kind_of_unit() -> None:
    host = handed(hosts.four_functions())
    assert requests(host, PRIMARY) == ["gpu-10de-1e87:1"]
    assert requests(host, FULL) == [
        "gpu-10de-1e87:1,pci-10de-10f8:1,pci-10de-1ad8:1,pci-10de-1ad9:1"
    ]


def test_a_physical_function_is_requested_as_one() -> None:
    host = handed(hosts.virtual_functions())
    (alias,) = control_plane.aliases([host], PRIMARY)
    assert alias.device_type is DeviceType.PF
    assert requests(host, PRIMARY) == ["gpu-8086-56c0-pf:1"]


def test_two_cards_in_a_group_have_a_class_of_their_own() -> None:
    aliases = control_plane.aliases([handed(hosts.shared_group())], PRIMARY)
    own = "CUSTOM_PCI_10DE_1430_OF_10DE_1430_10DE_1431"
    assert [alias.resource_class for alias in aliases] == [own, None]


@pytest.mark.parametrize(("number", "value"), [(30, None), (31, True)])
def test_an_alias_that_can_be_migrated(
    number: int, value: bool | None
) -> None:
    options = NovaOptions(Release(number), live_migratable=True)
    host = handed(hosts.four_functions())
    (alias,) = control_plane.aliases([host], options)
    assert alias.live_migratable is value


def test_hosts_merge_without_a_clash() -> None:
    fleet = [
        handed(hosts.four_functions(), "c1"),
        handed(cards(8), "c2"),
        handed(hosts.shared_group(), "c3"),
        handed(hosts.virtual_functions(), "c4", *VIRTUAL),
    ]
    for options in (PRIMARY, FULL):
        lines = list(map(str, control_plane.aliases(fleet, options)))
        known = nova_alias.parse_aliases(lines)
        assert len(known) == len(lines)
        for flavor in control_plane.flavors(fleet, options):
            assert {name for name, _ in flavor.items} <= known.keys()


def test_a_host_trait_is_required_by_flavors() -> None:
    host = handed(hosts.four_functions())
    (flavor,) = control_plane.flavors([host], PRIMARY)
    plain = control_plane.flavor_command(flavor, PRIMARY)
    assert plain[-1] == "gpu-10de-1e87"
    required = dataclasses.replace(PRIMARY, host_trait="CUSTOM_X")
    command = control_plane.flavor_command(flavor, required)
    assert command[-3:-1] == ("--property", "trait:CUSTOM_X=required")
    assert command[:-3] == plain[:-1]


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
    sections = control_plane.placement_options(wide, older)
    assert sections.keys() == {"placement"}
    assert control_plane.placement_options(wide, PRIMARY)
    narrow = [handed(cards(2))]
    assert control_plane.most_candidates(narrow, FULL) == 2**4
    assert not control_plane.placement_options(narrow, FULL)
    oldest = NovaOptions(Release(27), Mode.FULL)
    assert not control_plane.placement_options(wide, oldest)


def test_the_group_filter_is_before_those_that_choose() -> None:
    mine = ("ComputeFilter", control_plane.PCI_FILTER, "NUMATopologyFilter")
    assert control_plane.filters(PRIMARY, mine) == mine
    whole = control_plane.filters(FULL, mine)
    assert whole == (mine[0], "IommuGroupFilter", *mine[1:])
    assert control_plane.filters(FULL, whole) == whole
    assert control_plane.filters(PRIMARY, whole) == mine
    first = ("NUMATopologyFilter", "A")
    assert control_plane.filters(FULL, first) == (
        "IommuGroupFilter",
        *first,
        control_plane.PCI_FILTER,
    )
