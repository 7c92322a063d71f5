"""The files that Nova, Placement and an operator read, as text."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from gpu_passthrough_plugin.formats.nova_release import SINCE, Feature
from gpu_passthrough_plugin.nova import compute, control_plane
from gpu_passthrough_plugin.nova.control_plane import (
    DEFAULT_FILTERS,
    DEFAULT_SIZE,
    MOST_RESULTS,
    Size,
)
from gpu_passthrough_plugin.nova.options import Asked, Host, Mode

_WIDTH = 78


def compute_file(host: Host, asked: Asked) -> str:
    """``[pci]`` of one host's nova-compute: what it may hand out."""
    offers = compute.offers(host, asked)
    lines = comment(
        f"For nova-compute on {host.name}, {asked.release}, {asked.mode}"
        " mode. It reads its devices once: restart it after a change. The"
        " first entry that matches a device wins, so none of another"
        " origin may match these."
    )
    lines += lacks(asked, wished(asked))
    lines += [*traits(host, asked), "[pci]", *report(asked)]
    for offer in offers:
        lines += ["", *offered(offer, asked)]
        lines += [f"device_spec = {spec}" for spec in offer.specs]
    if not offers:
        nothing = "No group of this host can be handed out."
        lines += ["", *comment(nothing)]
    return _text(lines + left_out(host, asked))


def alias_file(hosts: Sequence[Host], asked: Asked) -> str:
    """``[pci] alias`` for nova-api and for every nova-compute."""
    lines = comment(
        "For nova-api and every nova-compute, the same everywhere. Give it"
        " to a service once: Nova refuses a name that it reads twice."
    )
    lines += ["[pci]"]
    lines += [
        f"alias = {entry}" for entry in control_plane.aliases(hosts, asked)
    ]
    return _text(lines)


def scheduler_file(
    asked: Asked, enabled: Sequence[str] = DEFAULT_FILTERS
) -> str:
    """``[filter_scheduler]`` for scheduler, API and conductors.

    :param enabled: the filters that the operator has.
    """
    lines = comment(
        "For nova-scheduler, nova-api and every nova-conductor. If you have"
        " enabled_filters of your own, put into it what this adds."
    )
    lines += lacks(asked, (Feature.SCHEDULE,))
    lines += ["[filter_scheduler]"]
    if asked.release.has_placement:
        lines.append("pci_in_placement = true")
    ours = [
        f"available_filters = {control_plane.NOVAS_FILTERS}",
        f"available_filters = {control_plane.GROUP_FILTER}",
        "weight_classes ="
        f" {control_plane.NOVAS_WEIGHERS},{control_plane.WEIGHER}",
    ]
    if asked.mode is Mode.FULL:
        lines += ours
    filters = ",".join(control_plane.filters(asked, enabled))
    lines.append(f"enabled_filters = {filters}")
    if asked.mode is Mode.PRIMARY and asked.release.has_placement:
        group = control_plane.GROUP_FILTER.rpartition(".")[2]
        lines += ["", *together(group, control_plane.PCI_FILTER, ours)]
    return _text(lines)


def placement_file(hosts: Sequence[Host], asked: Asked) -> str:
    """What Placement itself needs, which is something for wide hosts."""
    lines = comment("For Placement's own configuration, not Nova's.")
    if control_plane.most_candidates(hosts, asked) <= MOST_RESULTS:
        lines += comment(
            f"Nothing has to be changed: Nova looks at {MOST_RESULTS} ways"
            " to take what a host has, and no host has more."
        )
        return _text([*lines, "[placement]"])
    lines += comment(
        "There are more ways to take what one host has than the"
        f" {MOST_RESULTS} that Nova looks at: other hosts have to be among"
        " these too, and no more be made than are looked at."
    )
    lines += lacks(asked, (Feature.CANDIDATES, Feature.WIDE_TREES))
    for section, options in control_plane.tuning(hosts, asked).items():
        lines += [f"[{section}]"]
        lines += [f"{key} = {value}" for key, value in options.items()]
    return _text(lines)


def provider_file(trait: str) -> str:
    """What each nova-compute tells Placement of its host, in YAML.

    Source: nova, doc/source/admin/managing-resource-providers.rst, and
    compute/provider_config.py.
    """
    lines = comment(
        "For every nova-compute with cards, the same everywhere; it reads it"
        " when it starts. The flavors require the trait. To keep all others"
        f" off these hosts put them into an aggregate with trait:{trait}"
        "=required, and turn on [scheduler]"
        " enable_isolated_aggregate_filtering."
    )
    lines += [
        "meta:",
        "  schema_version: '1.0'",
        "providers:",
        "  - identification:",
        "      uuid: $COMPUTE_NODE",
        "    traits:",
        "      additional:",
        f"        - {trait}",
    ]
    return _text(lines)


def flavors_file(
    hosts: Sequence[Host], asked: Asked, size: Size = DEFAULT_SIZE
) -> str:
    """Commands for a shell that make a flavor for each kind of unit."""
    lines = ["#!/bin/sh -e"]
    lines += comment(
        "Change vcpus, ram and disk as you like. Ask for more cards of a"
        " kind by a higher number behind the alias."
        if asked.mode is Mode.PRIMARY
        else "Change vcpus, ram and disk as you like. Leave the aliases:"
        " they are what a whole group has."
    )
    lines += [
        shlex.join(control_plane.command(flavor, size, asked.host_trait))
        for flavor in control_plane.flavors(hosts, asked)
    ]
    return _text(lines)


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def report(asked: Asked) -> list[str]:
    """``report_in_placement``, or why it is not there."""
    if not asked.release.has_placement:
        return comment(
            f"Left out: report_in_placement. {asked.release} schedules"
            f" nothing by it, {SINCE[Feature.SCHEDULE]} does, and Nova does"
            " not take it back."
        )
    return [
        *comment(
            "Set it on every compute host before [filter_scheduler]"
            " pci_in_placement. Nova does not take it back."
        ),
        "report_in_placement = true",
    ]


def traits(host: Host, asked: Asked) -> list[str]:
    """What an operator should know of the host's traits, if anything."""
    lines = []
    if host.has_acs_override:
        lines += comment(
            "The kernel was started with pcie_acs_override: what its groups"
            " say of isolation rests on that, not on the hardware. The"
            f" trait {compute.ACS_OVERRIDE} says so."
        )
    if not asked.release.has_placement and (
        host.has_acs_override or any(unit.traits for unit in host.units)
    ):
        lines += comment(
            f"Left out: traits. {asked.release} has no {Feature.ALIAS_TRAITS}"
            " to ask for them with."
        )
    return lines


def wished(asked: Asked) -> Iterator[Feature]:
    """What of the features was asked for."""
    for value, feature in (
        (asked.managed, Feature.SPEC_MANAGED),
        (asked.live_migratable, Feature.SPEC_MIGRATABLE),
        (asked.one_time_use, Feature.SPEC_ONCE),
    ):
        if value is not None:
            yield feature


def lacks(asked: Asked, features: Iterable[Feature]) -> list[str]:
    """Which of these the release does not have, and when they came."""
    return [
        line
        for feature in features
        if not asked.release.knows(feature)
        for line in comment(
            f"Left out: {asked.release} has no {feature}, which came with"
            f" {SINCE[feature]}."
        )
    ]


def offered(offer: compute.Offer, asked: Asked) -> list[str]:
    """What the entries of a unit stand for, and what they lack."""
    unit = offer.unit
    text = f"IOMMU group {unit.iommu_group}"
    if len(unit.primaries) > 1:
        text += f", {len(unit.primaries)} primaries as one"
    listed = {spec.address for spec in offer.specs}
    others = [
        str(f.address) for f in unit.functions if f.address not in listed
    ]
    if others:
        text += f"; reserved with it, never listed: {', '.join(others)}"
    return comment(f"{'; '.join((text, *_virtual(offer, asked)))}.")


def _virtual(offer: compute.Offer, asked: Asked) -> Iterator[str]:
    """What is left out because a function is a virtual one."""
    specs, release = offer.specs, asked.release
    if release.knows(Feature.SPEC_ONCE) and any(
        asked.one_time_use != spec.one_time_use for spec in specs
    ):
        yield "left out: one_time_use, which no virtual function may have"
    lost = {t for spec in specs for t in offer.unit.traits - spec.traits}
    if release.has_placement and lost:
        yield (
            f"left out: {', '.join(sorted(lost))}, which not every virtual"
            " function of its kind has"
        )


def together(group: str, before: str, options: Iterable[str]) -> list[str]:
    """What an operator may add who wants cards close to each other."""
    return [
        *comment(
            "For several cards close to each other this package has a filter"
            " and a weigher, which primary mode does without. To have them"
            " install it where nova-scheduler runs, write these lines"
            f" without the # and put {group} into enabled_filters before"
            f" NUMATopologyFilter and {before}."
        ),
        *(f"# {option}" for option in options),
    ]


def left_out(host: Host, asked: Asked) -> list[str]:
    """Why what is on the host is not among what it may hand out."""
    texts = [
        f"{unit.key.address} (IOMMU group {unit.iommu_group}): {why}"
        for unit, why in compute.left_out(host, asked)
    ]
    for group in host.refused:
        addresses = ", ".join(str(m.address) for m in group.primaries)
        reasons = "; ".join(r.text for r in group.verdict.reasons)
        number = "none" if group.number is None else group.number
        if addresses:
            texts.append(f"{addresses} (IOMMU group {number}): {reasons}")
    lines = [line for text in texts for line in comment(f"Left out: {text}.")]
    return ["", *lines] if lines else []


def comment(text: str) -> list[str]:
    """Lines of comment; no word of the text gets out of them."""
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )
