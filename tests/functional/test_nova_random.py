"""What ``nova check`` passes, real Nova starts with, whatever it is.

Configurations are made at random, near to those that mean something, for
the hosts of the battery.  With ``GPU_PASSTHROUGH_CAMPAIGN=all`` there are
more of them, and others each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.nova import control_plane
from tests.functional.lab import campaign
from tests.functional.nova import real_nova, verdicts
from tests.functional.nova.real_nova import Nova

RELEASES = [*real_nova.RELEASES] if campaign.is_whole() else [34, 29]
EXAMPLES = 5000 if campaign.is_whole() else 300
CARDS = ("10de", "15b3", "8086")
# Of Intel too, and of every host.
BRIDGES = ("1480", "1483")
HOSTS = ("gamer", "compute", "ampere", "vgpu", "dpu", "x540")

Functions = Sequence[Mapping[str, Any]]


nova = real_nova.fixture(RELEASES)


def cards(host: str) -> Functions:
    """The host's functions that configurations are about."""
    functions = real_nova.seen(verdicts.host_groups(host))
    return [
        function
        for function in functions
        if function["vendor_id"] in CARDS
        and function["product_id"] not in BRIDGES
    ]


NAMES = [*"abcdefgh", "a:b"]
rarely = st.sampled_from([False] * 9 + [True])
flags = st.sampled_from(["yes", "no", "true", "false"])
traits = st.sampled_from(
    ["CUSTOM_A", "custom_a", "a", "CUSTOM_A,CUSTOM_B", "HW_GPU_API_VULKAN",
     "COMPUTE_MANAGED_PCI_DEVICE", "HW_PCI_LIVE_MIGRATABLE"]
)  # fmt: skip
classes = st.sampled_from(["CUSTOM_A", "a", "PGPU", "vgpu", "b"])
booleans = st.sampled_from([None, "false", *["true"] * 16, "True", "y"])


@st.composite
def specs(draw: st.DrawFn, functions: Functions) -> Mapping[str, object]:
    """An entry that lists some of the functions, most often."""
    function = draw(st.sampled_from(functions))
    address = function["address"]
    matched = draw(
        st.sampled_from(
            [
                {"address": address},
                {"address": f"{address[:-1]}*"},
                {"address": {"bus": address[5:7], "slot": address[8:10]}},
                {},
            ]
        )
    )
    if not matched or draw(st.booleans()):
        ids = ("vendor_id", "product_id")
        matched |= {key: function[key] for key in ids}
    tags = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "resource_class": classes,
                "traits": traits,
                "managed": flags,
                "live_migratable": flags,
                "one_time_use": flags,
                "physical_network": st.sampled_from(["net", "", None]),
                "remote_managed": st.sampled_from(["true", "false"]),
                "dev_type": st.sampled_from(["type-PCI", "type-PF"]),
                "rack": st.sampled_from(["4", None]),
            },
        )
    )
    # Most entries have few tags, or hardly any would be reported.
    kept = draw(st.sets(st.sampled_from([*tags, ""]), max_size=2))
    return {**matched, **{key: tags[key] for key in kept if key}}


@st.composite
def aliases(draw: st.DrawFn, functions: Functions) -> Mapping[str, object]:
    """An entry that one of the functions satisfies, most often."""
    function = draw(st.sampled_from(functions))
    entry: dict[str, object] = {"name": draw(st.sampled_from(NAMES))}
    if draw(rarely) is False:
        ids = ("vendor_id", "product_id")
        entry |= {key: function[key] for key in ids}
    if draw(rarely) is False:
        entry["device_type"] = function["dev_type"]
    optional = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "device_type": st.sampled_from(["type-PCI", "type-VF"]),
                "numa_policy": st.sampled_from(["required", "legacy"]),
                "resource_class": classes,
                "traits": traits,
                "live_migratable": flags,
                "capability_type": st.just("pci"),
            },
        )
    )
    kept = draw(st.sets(st.sampled_from([*optional, ""]), max_size=1))
    return {**entry, **{key: optional[key] for key in kept if key}}


filters = st.lists(
    st.sampled_from(
        [*control_plane.DEFAULT_FILTERS, control_plane.PCI_FILTER,
         "NUMATopologyFilter", control_plane.PCI_FILTER,
         control_plane.GROUP_FILTER, "RamFilter"]
    ),
    min_size=1,
    max_size=2,
)  # fmt: skip
available = st.sampled_from(
    [
        (),
        (),
        (control_plane.NOVAS_FILTERS,),
        (control_plane.NOVAS_FILTERS, control_plane.GROUP_FILTER_PATH),
        (control_plane.GROUP_FILTER_PATH,),
    ]
)


def _unique(entry: Mapping[str, object]) -> object:
    return entry.get("name", json.dumps(entry))


@st.composite
def configurations(draw: st.DrawFn) -> tuple[str, str]:
    """A host's name and a nova.conf for it."""
    host = draw(st.sampled_from(HOSTS))
    functions = cards(host)
    lines = []
    report, placed = draw(booleans), draw(booleans)
    if placed is not None or draw(st.booleans()):
        lines.append("[filter_scheduler]")
        lines += [] if placed is None else [f"pci_in_placement = {placed}"]
        lines += [f"available_filters = {p}" for p in draw(available)]
        if draw(rarely):
            lines.append(f"enabled_filters = {','.join(draw(filters))}")
    lines.append("[pci]")
    lines += [] if report is None else [f"report_in_placement = {report}"]
    for option, entries in (
        ("device_spec", specs(functions)),
        ("alias", aliases(functions)),
    ):
        for entry in draw(
            st.lists(entries, min_size=1, max_size=3, unique_by=_unique)
        ):
            indent = " " if draw(rarely) and draw(rarely) else ""
            lines.append(f"{indent}{option} = {json.dumps(entry)}")
    return host, "\n".join((*lines, ""))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not campaign.is_whole(),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(configurations())
def test_what_passes_loads_in_nova(
    nova: Nova, configuration: tuple[str, str]
) -> None:
    host, conf = configuration
    verdict, _ = verdicts.of_check(host, conf, nova.release.number)
    event("refused" if verdict == "refused" else "passes")
    if verdict == "refused":
        return
    theirs = verdicts.of_nova(nova, host, conf)
    assert verdicts.simplified(theirs) != "refused", (theirs, conf)
    assert {*_names(theirs)} <= {*_names(verdict)}, (theirs, verdict, conf)


def _names(verdict: verdicts.Verdict) -> Sequence[str]:
    """The aliases that no flavor gets a device for."""
    return () if isinstance(verdict, str) else verdict
