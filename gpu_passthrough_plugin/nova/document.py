"""The files that Nova, Placement and an operator read, as text."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from gpu_passthrough_plugin.nova import compute, control, remarks
from gpu_passthrough_plugin.nova.asked import Asked, Host, Mode
from gpu_passthrough_plugin.nova.control import (
    DEFAULT_FILTERS,
    DEFAULT_SIZE,
    MOST_RESULTS,
    Size,
)
from gpu_passthrough_plugin.nova.release import Feature


def compute_file(host: Host, asked: Asked) -> str:
    """``[pci]`` of one host's nova-compute: what it may hand out."""
    offers = compute.offers(host, asked)
    lines = remarks.comment(
        f"For nova-compute on {host.name}, {asked.release}, {asked.mode}"
        " mode. It reads its devices once: restart it after a change. The"
        " first entry that matches a device wins, so none of another"
        " origin may match these."
    )
    lines += remarks.lacks(asked, remarks.wished(asked))
    lines += [*remarks.traits(host, asked), "[pci]", *remarks.report(asked)]
    for offer in offers:
        lines += ["", *remarks.offered(offer, asked)]
        lines += [f"device_spec = {spec}" for spec in offer.specs]
    if not offers:
        nothing = "No group of this host can be handed out."
        lines += ["", *remarks.comment(nothing)]
    return _text(lines + remarks.left_out(host, asked))


def alias_file(hosts: Sequence[Host], asked: Asked) -> str:
    """``[pci] alias`` for nova-api and for every nova-compute."""
    lines = remarks.comment(
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
    lines = remarks.comment(
        "For nova-scheduler, nova-api and every nova-conductor. If you have"
        " enabled_filters of your own, put into it what this adds."
    )
    lines += remarks.lacks(asked, (Feature.SCHEDULE,))
    lines += ["[filter_scheduler]"]
    if asked.release.has_placement:
        lines.append("pci_in_placement = true")
    ours = [
        f"available_filters = {control.NOVAS_FILTERS}",
        f"available_filters = {control.GROUP_FILTER}",
        f"weight_classes = {control.NOVAS_WEIGHERS},{control.WEIGHER}",
    ]
    if asked.mode is Mode.FULL:
        lines += ours
    filters = ",".join(control.filters(asked, enabled))
    lines.append(f"enabled_filters = {filters}")
    if asked.mode is Mode.PRIMARY and asked.release.has_placement:
        group = control.GROUP_FILTER.rpartition(".")[2]
        lines += ["", *remarks.together(group, control.PCI_FILTER, ours)]
    return _text(lines)


def placement_file(hosts: Sequence[Host], asked: Asked) -> str:
    """What Placement itself needs, which is something for wide hosts."""
    lines = remarks.comment("For Placement's own configuration, not Nova's.")
    if control.most_candidates(hosts, asked) <= MOST_RESULTS:
        lines += remarks.comment(
            f"Nothing has to be changed: Nova looks at {MOST_RESULTS} ways"
            " to take what a host has, and no host has more."
        )
        return _text([*lines, "[placement]"])
    lines += remarks.comment(
        "There are more ways to take what one host has than the"
        f" {MOST_RESULTS} that Nova looks at: other hosts have to be among"
        " these too, and no more be made than are looked at."
    )
    lines += remarks.lacks(asked, (Feature.CANDIDATES, Feature.WIDE_TREES))
    for section, options in control.tuning(hosts, asked).items():
        lines += [f"[{section}]"]
        lines += [f"{key} = {value}" for key, value in options.items()]
    return _text(lines)


def provider_file(trait: str) -> str:
    """What each nova-compute tells Placement of its host, in YAML.

    Source: nova, doc/source/admin/managing-resource-providers.rst, and
    compute/provider_config.py.
    """
    lines = remarks.comment(
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
    lines += remarks.comment(
        "Change vcpus, ram and disk as you like. Ask for more cards of a"
        " kind by a higher number behind the alias."
        if asked.mode is Mode.PRIMARY
        else "Change vcpus, ram and disk as you like. Leave the aliases:"
        " they are what a whole group has."
    )
    lines += [
        shlex.join(control.command(flavor, size, asked.host_trait))
        for flavor in control.flavors(hosts, asked)
    ]
    return _text(lines)


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
