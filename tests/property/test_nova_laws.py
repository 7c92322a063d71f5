"""Laws of what Nova is told, whatever the hosts have."""

from __future__ import annotations

import collections
import dataclasses
import json
import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import nova_alias, nova_device_spec
from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.formats.nova_release import (
    CYCLES,
    Feature,
    Release,
)
from gpu_passthrough_plugin.model import resource_class, trait
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
    UnitKey,
)
from gpu_passthrough_plugin.nova import compute, control_plane, pools, render
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions

addresses = st.builds(
    Address,
    st.sampled_from([0, 1, 0x10000]),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 2),
)
functions = st.builds(
    UnitFunction,
    address=addresses,
    vendor_id=st.sampled_from([0x10DE, 0x8086]),
    product_id=st.sampled_from([0x1430, 0x0FBA, 1]),
    class_code=st.sampled_from([0x030000, 0x040300, 0x120000]),
    device_type=st.sampled_from(DeviceType),
    is_primary=st.booleans(),
)


@st.composite
def hosts(draw: st.DrawFn, name: str = "c1") -> ComputeHost:
    """Units that share no function, each with a primary."""
    found = draw(
        st.lists(functions, max_size=9, unique_by=lambda f: f.address)
    )
    parts: dict[int, list[UnitFunction]] = {}
    for function in found:
        parts.setdefault(draw(st.integers(0, 3)), []).append(function)
    units = []
    for number, members in parts.items():
        members[0] = dataclasses.replace(members[0], is_primary=True)
        members.sort(key=lambda f: f.address)
        units.append(
            Unit(
                UnitKey(
                    name, next(f.address for f in members if f.is_primary)
                ),
                number,
                tuple(members),
                None,
                None,
                draw(st.sampled_from([None, Address(0, 9, 0, 0)])),
                draw(
                    st.sampled_from(
                        [frozenset(), frozenset({trait.UNISOLATED})]
                    )
                ),
            )
        )
    return ComputeHost(name, tuple(units))


@st.composite
def choices(draw: st.DrawFn) -> NovaOptions:
    release = Release(draw(st.sampled_from(sorted(CYCLES))))
    can_be_whole = release.has_placement
    wish = st.sampled_from([None, False, True])
    return NovaOptions(
        release,
        draw(st.sampled_from([*Mode] if can_be_whole else [Mode.PRIMARY])),
        draw(wish),
        draw(wish),
        draw(wish),
    )


fleets = st.tuples(hosts("c1"), hosts("c2")).map(list)


def matches(entry: dict[str, str], function: UnitFunction) -> bool:
    """As Nova does: every key that is there, by its own spelling."""
    return (
        entry["address"] == str(function.address)
        and int(entry["vendor_id"], 16) == function.vendor_id
        and int(entry["product_id"], 16) == function.product_id
    )


def entries(host: ComputeHost, options: NovaOptions) -> list[dict[str, str]]:
    text = render.compute_file(host, options)
    return [
        json.loads(line.partition(" = ")[2])
        for line in text.splitlines()
        if line.startswith("device_spec = ")
    ]


@given(hosts(), choices())
def test_an_entry_matches_one_function_and_that_is_ours(
    host: ComputeHost, options: NovaOptions
) -> None:
    mine = [f for unit in host.units for f in unit.functions]
    for entry in entries(host, options):
        assert len([f for f in mine if matches(entry, f)]) == 1
        assert all(isinstance(value, str) for value in entry.values())
        assert " " not in entry.get("traits", "")
        assert all(
            map(
                trait.is_trait,
                filter(None, entry.get("traits", "").split(",")),
            )
        )


@given(hosts(), choices())
def test_a_unit_is_offered_or_left_out_with_a_reason(
    host: ComputeHost, options: NovaOptions
) -> None:
    offered = [offer.unit.key for offer in compute.offers(host, options)]
    out = [entry.unit.key for entry in compute.left_out(host, options)]
    assert sorted(offered + out) == sorted(unit.key for unit in host.units)
    assert all(entry.reason for entry in compute.left_out(host, options))


def tagged(specs: Iterable[DeviceSpec], tag: str) -> set[object]:
    """The values of a tag; None stands for an entry without it."""
    return {spec.tags.get(tag) for spec in specs}


@given(hosts(), choices())
def test_what_is_written_is_read_back(
    host: ComputeHost, options: NovaOptions
) -> None:
    for offer in compute.offers(host, options):
        for spec in offer.specs:
            (entry,) = nova_device_spec.load(str(spec))
            assert nova_device_spec.read(entry) == spec
    for alias in control_plane.aliases([host], options):
        assert nova_alias.read(nova_alias.load(str(alias))) == alias


@given(hosts(), choices())
def test_nova_sees_one_function_of_a_unit_or_all(
    host: ComputeHost, options: NovaOptions
) -> None:
    for unit, functions, specs in compute.offers(host, options):
        listed = [function.address for function in functions]
        assert [s.address.single for s in specs] == list(map(str, listed))
        is_virtual = any(
            f.device_type is DeviceType.VF for f in unit.functions
        )
        if options.mode is Mode.FULL and not is_virtual:
            assert listed == [f.address for f in unit.functions]
            assert len(tagged(specs, pools.GROUP_TAG)) == 1
            assert tagged(specs, pools.SIZE_TAG) == {str(len(specs))}
            traits = ",".join(specs[0].traits) or None
            assert tagged(specs, pools.TRAITS_TAG) == {traits}
        else:
            assert listed == [unit.key.address]
            assert {*specs[0].tags} <= {pools.SWITCH_TAG}
    tags = [
        offer.specs[0].tags[pools.GROUP_TAG]
        for offer in compute.offers(host, options)
        if pools.GROUP_TAG in offer.specs[0].tags
    ]
    assert len(set(tags)) == len(tags)


@given(hosts(), choices())
def test_a_switch_is_said_where_it_is_shared(
    host: ComputeHost, options: NovaOptions
) -> None:
    below = collections.Counter(unit.switch for unit in host.units)
    for unit, _, specs in compute.offers(host, options):
        is_shared = unit.switch is not None and below[unit.switch] > 1
        shared = str(unit.switch) if is_shared else None
        assert tagged(specs, pools.SWITCH_TAG) == {shared}


@given(fleets, choices(), st.randoms(use_true_random=False))
def test_the_order_of_hosts_and_units_changes_nothing(
    fleet: list[ComputeHost], options: NovaOptions, chance: random.Random
) -> None:
    turned = [
        dataclasses.replace(
            host, units=tuple(chance.sample(host.units, len(host.units)))
        )
        for host in reversed(fleet)
    ]
    for write in (
        render.alias_file,
        render.placement_file,
        render.flavors_file,
    ):
        assert write(turned, options) == write(fleet, options)
        # A host that is named twice is no other fleet.
        assert write([*fleet, *fleet], options) == write(fleet, options)
    assert render.compute_file(turned[1], options) == render.compute_file(
        fleet[0], options
    )


@given(fleets, choices())
def test_a_flavor_asks_for_what_is_there(
    fleet: list[ComputeHost], options: NovaOptions
) -> None:
    lines = [str(entry) for entry in control_plane.aliases(fleet, options)]
    known = nova_alias.parse_aliases(lines)
    assert len(known) == len(lines)
    flavors = control_plane.flavors(fleet, options)
    assert len({flavor.name for flavor in flavors}) == len(flavors)
    asked_for = {name for flavor in flavors for name, _ in flavor.items}
    assert asked_for == known.keys()


@given(fleets, choices())
def test_one_card_is_never_asked_for_and_two_had(
    fleet: list[ComputeHost], options: NovaOptions
) -> None:
    """With Placement, units of one and of several cards share no class."""
    alone: set[str] = set()
    several: set[str] = set()
    for host in fleet:
        for unit, functions, specs in compute.offers(host, options):
            classes = {
                spec.resource_class
                or resource_class.of_ids(f.vendor_id, f.product_id)
                for f, spec in zip(functions, specs, strict=True)
            }
            (several if len(unit.primaries) > 1 else alone).update(classes)
    assert not alone & several


@given(hosts(), choices())
def test_a_release_reads_nothing_that_it_does_not_know(
    host: ComputeHost, options: NovaOptions
) -> None:
    keys = {key for entry in entries(host, options) for key in entry}
    for key, feature in (
        ("managed", Feature.SPEC_MANAGED),
        ("live_migratable", Feature.SPEC_MIGRATABLE),
        ("one_time_use", Feature.SPEC_ONCE),
        ("traits", Feature.ALIAS_TRAITS),
        ("resource_class", Feature.ALIAS_CLASS),
    ):
        assert key not in keys or options.release.knows(feature)


@given(hosts(), choices())
def test_virtual_functions_of_one_kind_are_told_of_alike(
    host: ComputeHost, options: NovaOptions
) -> None:
    """Those of one physical function are one provider of Placement's."""
    virtual = {
        f.address: (f.vendor_id, f.product_id)
        for unit in host.units
        for f in unit.functions
        if f.device_type is DeviceType.VF
    }
    told: dict[tuple[int, int], set[object]] = {}
    for _, functions, specs in compute.offers(host, options):
        for function, spec in zip(functions, specs, strict=True):
            if function.address in virtual:
                kind = told.setdefault(virtual[function.address], set())
                kind.add((spec.resource_class, spec.traits))
    assert all(len(ways) == 1 for ways in told.values())


@given(st.sampled_from(sorted(CYCLES)))
def test_full_mode_is_refused_or_can_be_done(number: int) -> None:
    try:
        options = NovaOptions(Release(number), Mode.FULL)
    except errors.Refused:
        assert not Release(number).knows(Feature.SCHEDULE)
    else:
        assert options.release.knows(Feature.SCHEDULE)
