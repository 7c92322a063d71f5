"""The files that Nova, Placement and an operator read, as text."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from gpu_passthrough_plugin.formats.nova_release import SINCE, Feature
from gpu_passthrough_plugin.nova import compute, control_plane
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.control_plane import (
    DEFAULT_FILTERS,
    DEFAULT_SIZE,
    MAX_CANDIDATES,
    FlavorSize,
)
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions

_WIDTH = 78


def compute_file(host: ComputeHost, options: NovaOptions) -> str:
    """Return ``[pci]`` of one host's nova-compute: what it may hand out."""
    offers = compute.offers(host, options)
    lines = _comment(
        f"For nova-compute on {host.name}, {options.release}, {options.mode}"
        " mode. It reads its devices once: restart it after a change. The"
        " first entry that matches a device wins, so none of another"
        " origin may match these."
    )
    lines += _unsupported(options, _requested_features(options))
    lines += [*_trait_comments(host, options), "[pci]"]
    lines += _report_in_placement(options)
    for offer in offers:
        lines += ["", *_offer_comment(offer, options)]
        lines += [f"device_spec = {spec}" for spec in offer.specs]
    if not offers:
        lines += ["", *_comment("No group of this host can be handed out.")]
    return _text(lines + _left_out_comments(host, options))


def alias_file(hosts: Sequence[ComputeHost], options: NovaOptions) -> str:
    """Return ``[pci] alias`` for nova-api and for every nova-compute."""
    lines = _comment(
        "For nova-api and every nova-compute, the same everywhere. Give it"
        " to a service once: Nova refuses a name that it reads twice."
    )
    lines += ["[pci]"]
    entries = control_plane.aliases(hosts, options)
    lines += [f"alias = {entry}" for entry in entries]
    return _text(lines)


def scheduler_file(
    options: NovaOptions, enabled: Sequence[str] = DEFAULT_FILTERS
) -> str:
    """Return ``[filter_scheduler]`` for scheduler, API and conductors.

    :param enabled: the filters that the operator has enabled.
    """
    lines = _comment(
        "For nova-scheduler, nova-api and every nova-conductor. If you have"
        " enabled_filters of your own, put into it what this adds."
    )
    lines += _unsupported(options, (Feature.SCHEDULE,))
    lines += ["[filter_scheduler]"]
    if options.release.has_placement:
        lines.append("pci_in_placement = true")
    extension = [
        f"available_filters = {control_plane.NOVAS_FILTERS}",
        f"available_filters = {control_plane.GROUP_FILTER_PATH}",
        "weight_classes ="
        f" {control_plane.NOVAS_WEIGHERS},{control_plane.WEIGHER}",
    ]
    if options.mode is Mode.FULL:
        lines += extension
    filters = ",".join(control_plane.filters(options, enabled))
    lines.append(f"enabled_filters = {filters}")
    if options.mode is Mode.PRIMARY and options.release.has_placement:
        lines += ["", *_locality_comment(extension)]
    return _text(lines)


def placement_file(hosts: Sequence[ComputeHost], options: NovaOptions) -> str:
    """Return Placement's own options, which wide hosts need."""
    lines = _comment("For Placement's own configuration, not Nova's.")
    if control_plane.most_candidates(hosts, options) <= MAX_CANDIDATES:
        lines += _comment(
            f"Nothing has to be changed: Nova looks at {MAX_CANDIDATES} ways"
            " to take what a host has, and no host has more."
        )
        return _text([*lines, "[placement]"])
    lines += _comment(
        "There are more ways to take what one host has than the"
        f" {MAX_CANDIDATES} that Nova looks at: other hosts have to be among"
        " these too, and no more be made than are looked at."
    )
    lines += _unsupported(options, (Feature.CANDIDATES, Feature.WIDE_TREES))
    sections = control_plane.placement_options(hosts, options)
    for section, values in sections.items():
        lines += [f"[{section}]"]
        lines += [f"{key} = {value}" for key, value in values.items()]
    return _text(lines)


def provider_file(trait: str) -> str:
    """Return what nova-compute reports of its host to Placement, in YAML.

    Source: nova, doc/source/admin/managing-resource-providers.rst, and
    compute/provider_config.py.
    """
    lines = _comment(
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
    hosts: Sequence[ComputeHost],
    options: NovaOptions,
    size: FlavorSize = DEFAULT_SIZE,
) -> str:
    """Return a shell script that makes a flavor for each kind of unit."""
    lines = ["#!/bin/sh -e"]
    lines += _comment(
        "Change vcpus, ram and disk as you like. Ask for more cards of a"
        " kind by a higher number behind the alias."
        if options.mode is Mode.PRIMARY
        else "Change vcpus, ram and disk as you like. Leave the aliases:"
        " they are what a whole group has."
    )
    lines += [
        shlex.join(
            control_plane.flavor_command(flavor, size, options.host_trait)
        )
        for flavor in control_plane.flavors(hosts, options)
    ]
    return _text(lines)


def _report_in_placement(options: NovaOptions) -> list[str]:
    """Return the option ``report_in_placement``, or why it is not there."""
    if not options.release.has_placement:
        return _comment(
            f"Left out: report_in_placement. {options.release} schedules"
            f" nothing by it, {SINCE[Feature.SCHEDULE]} does, and Nova does"
            " not take it back."
        )
    return [
        *_comment(
            "Set it on every compute host before [filter_scheduler]"
            " pci_in_placement. Nova does not take it back."
        ),
        "report_in_placement = true",
    ]


def _trait_comments(host: ComputeHost, options: NovaOptions) -> list[str]:
    """Return what an operator should know of the host's traits, if anything.

    A kernel that was told to assume isolation is reported as a trait.
    """
    lines = []
    if host.has_acs_override:
        lines += _comment(
            "The kernel was started with pcie_acs_override: what its groups"
            " say of isolation rests on that, not on the hardware. The"
            f" trait {compute.ACS_OVERRIDE} says so."
        )
    if not options.release.has_placement and (
        host.has_acs_override or any(unit.traits for unit in host.units)
    ):
        lines += _comment(
            f"Left out: traits. {options.release} has no"
            f" {Feature.ALIAS_TRAITS} to ask for them with."
        )
    return lines


def _requested_features(options: NovaOptions) -> Iterator[Feature]:
    for value, feature in (
        (options.managed, Feature.SPEC_MANAGED),
        (options.live_migratable, Feature.SPEC_MIGRATABLE),
        (options.one_time_use, Feature.SPEC_ONCE),
    ):
        if value is not None:
            yield feature


def _unsupported(
    options: NovaOptions, features: Iterable[Feature]
) -> list[str]:
    """Return which of these the release does not have, and when they came."""
    return [
        line
        for feature in features
        if not options.release.knows(feature)
        for line in _comment(
            f"Left out: {options.release} has no {feature}, which came with"
            f" {SINCE[feature]}."
        )
    ]


def _offer_comment(offer: compute.Offer, options: NovaOptions) -> list[str]:
    """Return what the entries of a unit stand for, and what they lack."""
    unit = offer.unit
    text = f"IOMMU group {unit.iommu_group}"
    if len(unit.primaries) > 1:
        text += f", {len(unit.primaries)} primaries as one"
    others = [
        str(f.address) for f in unit.functions if f not in offer.functions
    ]
    if others:
        text += f"; reserved with it, never listed: {', '.join(others)}"
    return _comment(f"{'; '.join((text, *_not_of_virtual(offer, options)))}.")


def _not_of_virtual(
    offer: compute.Offer, options: NovaOptions
) -> Iterator[str]:
    """Yield what is left out because a function is a virtual one."""
    specs, release = offer.specs, options.release
    if release.knows(Feature.SPEC_ONCE) and any(
        options.one_time_use != spec.one_time_use for spec in specs
    ):
        yield "left out: one_time_use, which no virtual function may have"
    lost = {t for s in specs for t in offer.unit.traits - {*s.traits}}
    if release.has_placement and lost:
        yield (
            f"left out: {', '.join(sorted(lost))}, which not every virtual"
            " function of its kind has"
        )


def _locality_comment(extension: Iterable[str]) -> list[str]:
    """Return what an operator may add who wants cards close to each other.

    :param extension: the options that load this package's filter and
        weigher.
    """
    return [
        *_comment(
            "For several cards close to each other this package has a filter"
            " and a weigher, which primary mode does without. To have them"
            " install it where nova-scheduler runs, write these lines"
            f" without the # and put {control_plane.GROUP_FILTER} into"
            " enabled_filters before"
            f" NUMATopologyFilter and {control_plane.PCI_FILTER}."
        ),
        *(f"# {option}" for option in extension),
    ]


def _left_out_comments(host: ComputeHost, options: NovaOptions) -> list[str]:
    """Return why groups of the host are not among those listed."""
    texts = [
        f"{unit.key.address} (IOMMU group {unit.iommu_group}): {reason}"
        for unit, reason in compute.left_out(host, options)
    ]
    for group in host.refused:
        addresses = ", ".join(str(m.address) for m in group.primaries)
        reasons = "; ".join(r.text for r in group.verdict.reasons)
        number = "none" if group.number is None else group.number
        if addresses:
            texts.append(f"{addresses} (IOMMU group {number}): {reasons}")
    lines = [line for text in texts for line in _comment(f"Left out: {text}.")]
    return ["", *lines] if lines else []


def _comment(text: str) -> list[str]:
    """Return the text as lines of comment; no word can leave its comment."""
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
