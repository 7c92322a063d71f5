"""What the files say beside their options: lines of comment."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from gpu_passthrough_plugin.nova import compute
from gpu_passthrough_plugin.nova.asked import Asked, Host
from gpu_passthrough_plugin.nova.release import SINCE, Feature

_WIDTH = 78


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
