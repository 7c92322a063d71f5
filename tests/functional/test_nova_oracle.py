"""``nova check`` and Nova's own code, on the same configurations.

Nova runs in an environment of its own (``nova/judge.py``).  They have to
agree on what Nova starts with, which entry lists which function, and which
function satisfies an alias; or the fragment says why not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import nova_entry
from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model import resource_class, trait
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.nova import control_plane
from gpu_passthrough_plugin.nova.lint import (
    alias_matching,
    check,
    configuration,
    host_view,
    option_rules,
)
from gpu_passthrough_plugin.nova.lint.host_view import HostView
from tests.functional.nova import real_nova
from tests.functional.nova.fragments import Fragment, fragments
from tests.functional.nova.real_nova import Nova
from tests.trees import hosts
from tests.trees.host import Host
from tests.unit.nova.lint.build import groups

# The releases that are asked.
RELEASES = (34,)
# The checks whose failures say that a service of Nova's does not start; the
# last only where it reports to Placement.
STARTING = ("options", "values", "keys", "aliases", "alias names")
REPORTING = "sriov"


class Verdict(NamedTuple):
    """What is made of a configuration.

    :param refused: why Nova does not start; empty where it does.
    :param listed: of each address the number of the entry that lists it.
    :param aliases: of each alias the addresses that satisfy it.
    """

    refused: str
    listed: Mapping[str, int]
    aliases: Mapping[str, Sequence[str]]


def described() -> Host:
    """A card of four functions, and a NIC with two virtual functions."""
    host = hosts.virtual_functions()
    port = "0000:00:07.0"
    hosts.port(host, port, "0000:07", 60, "8086")
    host.function("0000:07:00.0", "10de:1e87", "030000", under=port, group=61)
    host.function("0000:07:00.1", "10de:10f8", "040300", under=port, group=61)
    return host


GROUPS = groups(described())


def applied(text: str, release: Release) -> HostView:
    conf = configuration.read([("nova.conf", text.encode())])
    return host_view.apply(conf, GROUPS, release)


DEVICES = real_nova.seen(GROUPS)


def ours(text: str, release: Release) -> Verdict:
    """What ``nova check`` makes of it."""
    try:
        view = applied(text, release)
    except errors.Invalid as error:
        return Verdict(str(error), {}, {})
    starting = [*STARTING]
    if view.conf.report_in_placement:
        starting.append(REPORTING)
    failed = [
        finding.detail
        for finding in check.findings(view.conf, GROUPS, release)
        if finding.status is Status.FAIL and finding.check in starting
    ]
    if failed:
        return Verdict("; ".join(failed), {}, {})
    aliases: dict[str, list[str]] = {}
    for line in view.aliases:
        found = aliases.setdefault(line.entry.name, [])
        matched = alias_matching.matched(line.entry, view)
        found += [str(device.address) for device in matched]
    return Verdict(
        "",
        {
            str(device.address): number
            for number, entry in enumerate(view.listed)
            for device in entry.taken
        },
        {name: sorted({*found}) for name, found in aliases.items()},
    )


nova = real_nova.fixture(RELEASES)


def theirs_of(text: str, nova: Nova) -> Verdict:
    """What Nova makes of a configuration on the described host."""
    judgement = nova.judge(text, DEVICES)
    return Verdict(judgement.refused, judgement.listed, judgement.aliases)


def comparable(text: str, verdict: Verdict) -> Any:
    """What has to be the same on both sides.

    Aliases as long as the pools alone decide.
    """
    if verdict.refused:
        return "refused"
    if "pci_in_placement = true" in text:
        return verdict.listed
    return verdict.listed, verdict.aliases


@pytest.mark.parametrize("fragment", [*fragments()], ids=lambda f: f.text[:60])
def test_a_fragment(fragment: Fragment, nova: Nova) -> None:
    theirs = theirs_of(fragment.text, nova)
    mine = ours(fragment.text, nova.release)
    is_same = comparable(fragment.text, theirs) == comparable(
        fragment.text, mine
    )
    assert is_same == (not fragment.difference), (theirs, mine)


def test_there_are_enough_fragments_and_few_differences() -> None:
    all_of_them = list(fragments())
    assert len({f.text for f in all_of_them}) == len(all_of_them) >= 60
    assert sum(bool(f.difference) for f in all_of_them) * 8 < len(all_of_them)


@pytest.mark.parametrize(
    "name",
    [
        "", "gpu", "CUSTOM_GPU", "custom_gpu", "CUSTOM_a-b", "PGPU", "pgpu",
        "VGPU", "vcpu", "PCI_DEVICE", "big gpu", "a.b/c", "é", "HW_GPU",
        "hw_gpu_api_vulkan", "HW_GPU_API_VULKAN", "COMPUTE_MANAGED_PCI_DEVICE",
        "CUSTOM_A,CUSTOM_B", "CUSTOM_A, CUSTOM_B", "a,b,", ",", "OWNER_NOVA",
    ],
)  # fmt: skip
def test_names_of_classes_and_traits(name: str, nova: Nova) -> None:
    theirs = nova.answer(name=name)
    own_class = resource_class.of_ids(0x10DE, 0x1E87)
    mine = resource_class.normal(name) if name else own_class
    assert mine == theirs["resource_class"]
    traits = {*map(trait.normal, nova_entry.names(name))}
    # Of standard traits only how they begin is looked at.
    is_same = sorted(traits) == theirs["traits"]
    assert is_same == (name != "HW_GPU"), (traits, theirs)


def test_filters_of_nova(nova: Nova) -> None:
    theirs = nova.answer(filters=None)
    assert theirs["available"] == sorted(
        option_rules.novas_filters(nova.release)
    )
    assert theirs["enabled"] == [*control_plane.DEFAULT_FILTERS]


vendors = st.sampled_from(["10de", "15B3", "8086", "0x10de", "*", "1", "g"])
products = st.sampled_from(["1e87", "1017", "1018", "10f8", "*", "56C0"])
hexes = st.sampled_from(["0", "00", "04", "5", "05", "7", "07", "1f", "*"])
globs = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "0000:", "0:", "*:", ":", "0001:"]),
    st.builds("{}:".format, hexes) | st.just(""),
    hexes | st.just(""),
    st.builds(".{}".format, hexes | st.just("")) | st.just(""),
)
regexes = st.dictionaries(
    st.sampled_from(["domain", "bus", "slot", "function"]),
    st.sampled_from(
        [".*", "0", "05", "0[457]", "5", "[0-2]", "", "0000", "("]
    ),
    max_size=4,
)
flags = st.sampled_from(["yes", "no", "True", "0", "maybe", False, None])
specs = st.fixed_dictionaries(
    {},
    optional={
        "vendor_id": vendors,
        "product_id": products,
        "address": globs | regexes,
        "managed": flags,
        "live_migratable": flags,
        "physical_network": st.sampled_from(["physnet1"]),
        "anything": st.text(max_size=3),
    },
)
aliases = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", " a ", "b"])},
    optional={
        "vendor_id": st.sampled_from(["10de", "15B3", "8086", "10d"]),
        "product_id": st.sampled_from(["1e87", "1017", "1018", "56C0"]),
        "device_type": st.sampled_from(["type-PCI", "type-PF", "type-VF"]),
        "numa_policy": st.sampled_from(["required", "legacy", "near"]),
        "live_migratable": st.sampled_from(["yes", "no", "maybe"]),
        "other": st.just("x"),
    },
)
booleans = st.sampled_from(["true", "false"])


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """A nova.conf whose entries are near to those that mean something."""
    entries = draw(st.lists(specs, max_size=3))
    lines = [
        "[filter_scheduler]",
        f"pci_in_placement = {draw(booleans)}",
        "[pci]",
        f"report_in_placement = {draw(booleans)}",
        *(f"device_spec = {json.dumps(entry)}" for entry in entries),
        *(
            f"alias = {json.dumps(e)}"
            for e in draw(st.lists(aliases, max_size=3))
        ),
    ]
    return "\n".join((*lines, ""))


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(configurations())
def test_whatever_is_configured(nova: Nova, text: str) -> None:
    theirs = theirs_of(text, nova)
    mine = ours(text, nova.release)
    assert comparable(text, theirs) == comparable(text, mine), (theirs, mine)
