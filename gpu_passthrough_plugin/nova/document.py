"""The files that Nova, Placement and an operator read, as text."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from gpu_passthrough_plugin.nova import compute, control
from gpu_passthrough_plugin.nova.asked import Asked, Host, Mode
from gpu_passthrough_plugin.nova.control import (
    DEFAULT_FILTERS,
    DEFAULT_SIZE,
    MOST_RESULTS,
    Size,
)
from gpu_passthrough_plugin.nova.release import SINCE, Feature

_WIDTH = 78


def compute_file(host: Host, asked: Asked) -> str:
    """``[pci]`` of one host's nova-compute: what it may hand out."""
    offers = compute.offers(host, asked)
    lines = _comment(
        f"For nova-compute on {host.name}, {asked.release}, {asked.mode}"
        " mode. It reads its devices once: restart it after a change. The"
        " first entry that matches a device wins, so none of another"
        " origin may match these."
    )
    lines += _lacks(asked, _wished(asked))
    lines += [*_traits(host, asked), "[pci]", *_report(asked)]
    for offer in offers:
        lines += ["", *_comment(_offered(offer, asked))]
        lines += [f"device_spec = {spec}" for spec in offer.specs]
    if not offers:
        lines += ["", *_comment("No group of this host can be handed out.")]
    return _text(lines + _left_out(host, asked))


def alias_file(hosts: Sequence[Host], asked: Asked) -> str:
    """``[pci] alias`` for nova-api and for every nova-compute."""
    lines = _comment(
        "For nova-api and every nova-compute, the same everywhere. Give it"
        " to a service once: Nova refuses a name that it reads twice."
    )
    lines += ["[pci]"]
    lines += [f"alias = {entry}" for entry in control.aliases(hosts, asked)]
    return _text(lines)


def scheduler_file(
    asked: Asked, enabled: Sequence[str] = DEFAULT_FILTERS
) -> str:
    """``[filter_scheduler]`` for scheduler, API and conductors.

    :param enabled: the filters that the operator has.
    """
    lines = _comment(
        "For nova-scheduler, nova-api and every nova-conductor. If you have"
        " enabled_filters of your own, put into it what this adds."
    )
    lines += _lacks(asked, (Feature.SCHEDULE,))
    lines += ["[filter_scheduler]"]
    if asked.release.has_placement:
        lines.append("pci_in_placement = true")
    if asked.mode is Mode.FULL:
        lines.append(f"available_filters = {control.NOVAS_FILTERS}")
        lines.append(f"available_filters = {control.GROUP_FILTER}")
    filters = ",".join(control.filters(asked, enabled))
    lines.append(f"enabled_filters = {filters}")
    return _text(lines)


def placement_file(hosts: Sequence[Host], asked: Asked) -> str:
    """``[placement]`` of Placement itself, which wide hosts need."""
    is_wide = control.most_candidates(hosts, asked) > MOST_RESULTS
    lines = _comment("For Placement's own configuration, not Nova's.")
    if is_wide:
        lines += _comment(
            "There are more ways to take what one host has than the"
            f" {MOST_RESULTS} that Nova looks at: other hosts have to be"
            " among these too."
        )
        lines += _lacks(asked, (Feature.CANDIDATES,))
    else:
        lines += _comment(
            f"Nothing has to be changed: Nova looks at {MOST_RESULTS} ways"
            " to take what a host has, and no host has more."
        )
    options = control.tuning(hosts, asked)
    lines += ["[placement]"]
    lines += [f"{key} = {value}" for key, value in options.items()]
    return _text(lines)


def flavors_file(
    hosts: Sequence[Host], asked: Asked, size: Size = DEFAULT_SIZE
) -> str:
    """Commands for a shell that make a flavor for each kind of unit."""
    lines = ["#!/bin/sh -e"]
    lines += _comment(
        "Change vcpus, ram and disk as you like. Ask for more cards of a"
        " kind by a higher number behind the alias."
        if asked.mode is Mode.PRIMARY
        else "Change vcpus, ram and disk as you like. Leave the aliases:"
        " they are what a whole group has."
    )
    lines += [
        shlex.join(control.command(flavor, size))
        for flavor in control.flavors(hosts, asked)
    ]
    return _text(lines)


def _report(asked: Asked) -> list[str]:
    if not asked.release.has_placement:
        return _comment(
            f"Left out: report_in_placement. {asked.release} schedules"
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


def _traits(host: Host, asked: Asked) -> list[str]:
    lines = []
    if host.has_acs_override:
        lines += _comment(
            "The kernel was started with pcie_acs_override: what its groups"
            " say of isolation rests on that, not on the hardware. The"
            f" trait {compute.ACS_OVERRIDE} says so."
        )
    if not asked.release.has_placement and (
        host.has_acs_override or any(unit.traits for unit in host.units)
    ):
        lines += _comment(
            f"Left out: traits. {asked.release} has no {Feature.ALIAS_TRAITS}"
            " to ask for them with."
        )
    return lines


def _wished(asked: Asked) -> Iterator[Feature]:
    """What of the features was asked for."""
    for value, feature in (
        (asked.managed, Feature.SPEC_MANAGED),
        (asked.live_migratable, Feature.SPEC_MIGRATABLE),
        (asked.one_time_use, Feature.SPEC_ONCE),
    ):
        if value is not None:
            yield feature


def _lacks(asked: Asked, features: Iterable[Feature]) -> list[str]:
    return [
        line
        for feature in features
        if not asked.release.knows(feature)
        for line in _comment(
            f"Left out: {asked.release} has no {feature}, which came with"
            f" {SINCE[feature]}."
        )
    ]


def _offered(offer: compute.Offer, asked: Asked) -> str:
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
    if asked.release.knows(Feature.SPEC_ONCE) and any(
        asked.one_time_use != spec.one_time_use for spec in offer.specs
    ):
        text += "; left out: one_time_use, which no virtual function may have"
    return f"{text}."


def _left_out(host: Host, asked: Asked) -> list[str]:
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
    lines = [line for text in texts for line in _comment(f"Left out: {text}.")]
    return ["", *lines] if lines else []


def _comment(text: str) -> list[str]:
    """Lines of comment; no word of the text gets out of them."""
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
