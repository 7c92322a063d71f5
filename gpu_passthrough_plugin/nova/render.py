"""The files that Nova, Placement and an operator read, as text."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from gpu_passthrough_plugin.formats.nova_release import SINCE, Feature
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.address_space import shown
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.nova import compute, control_plane
from gpu_passthrough_plugin.nova.address_space import BITS, MODE, Need
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.control_plane import (
    DEFAULT_FILTERS,
    DEFAULT_SIZE,
    MAX_CANDIDATES,
    Flavor,
    FlavorSize,
)
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions

_WIDTH = 78


def compute_file(host: ComputeHost, options: NovaOptions) -> str:
    """Return ``[pci]`` of one host's nova-compute: what it may hand out."""
    offers = compute.offers(host, options)
    lines = _comment(
        f"For nova-compute on {host.name}, {options.release}, {options.mode}"
        " mode. nova-compute reads its devices only when it starts: restart"
        " it after a change. The first entry that matches a device wins, so"
        " no device_spec in another file may match these devices."
    )
    lines += _unsupported(options, _requested_features(options))
    lines += [*_trait_comments(host, options), "[pci]"]
    lines += _report_in_placement(options)
    for offer in offers:
        lines += ["", *_offer_comment(offer, options)]
        lines += [f"device_spec = {spec}" for spec in offer.specs]
    if not offers:
        lines += ["", *_comment("No group of this host can be assigned.")]
    return _text(lines + _left_out_comments(host, options))


def alias_file(hosts: Sequence[ComputeHost], options: NovaOptions) -> str:
    """Return ``[pci] alias`` for nova-api and for every nova-compute."""
    lines = _comment(
        "For nova-api and every nova-compute, the same everywhere. Load this"
        " file only once per service: Nova rejects duplicate alias names."
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
        "For nova-scheduler, nova-api and every nova-conductor. If you set"
        " enabled_filters yourself, add the PCI filters below to your list."
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
    lines = _comment("For Placement's own configuration, not for Nova's.")
    if control_plane.most_candidates(hosts, options) <= MAX_CANDIDATES:
        lines += _comment(
            f"No change is needed: Nova looks at {MAX_CANDIDATES} allocation"
            " candidates, and no host here has more ways to take its devices."
        )
        return _text([*lines, "[placement]"])
    lines += _comment(
        "One host has more ways to take its devices than the"
        f" {MAX_CANDIDATES} allocation candidates that Nova looks at. With"
        " these options other hosts are among the candidates too, and"
        " Placement makes no more of them than Nova looks at."
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
        "For every nova-compute with cards, the same everywhere; it is read"
        " when nova-compute starts. The flavors require the trait. To keep"
        " other instances off these hosts, put the hosts into an aggregate"
        f" with trait:{trait}=required, and turn on [scheduler]"
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
        "Change vcpus, ram and disk as needed. For several cards of a kind,"
        " raise the number after the alias."
        if options.mode is Mode.PRIMARY
        else "Change vcpus, ram and disk as needed. Do not change the"
        " aliases: together they are one whole group."
    )
    flavors = control_plane.flavors(hosts, options, size)
    lines += _address_comment(flavors, options)
    for flavor in flavors:
        lines += _need_comment(flavor)
        command = control_plane.flavor_command(flavor, options, size)
        lines.append(shlex.join(command))
    return _text(lines)


def _address_comment(
    flavors: Iterable[Flavor], options: NovaOptions
) -> list[str]:
    """Return what goes for every flavor whose guests lack addresses."""
    needs = [flavor.need for flavor in flavors]
    lines = []
    if any(isinstance(need, Need) for need in needs):
        lines += _unsupported(options, (Feature.ADDRESS_BITS,))
        lines += _comment(
            f"Nova's API refuses {MODE} and {BITS} from microversion 2.86 on"
            " where this package is not installed."
            if options.release.knows(Feature.ADDRESS_BITS)
            else "Set [libvirt] cpu_mode = host-passthrough on the compute"
            " hosts instead: their guests have the host's address bits."
        )
        lines += _comment(
            "Use images with hw_machine_type=q35 and hw_firmware_type=uefi."
        )
    if any(isinstance(need, Unknown) for need in needs):
        lines += _comment(
            "Not known for every flavor: whether guests can map the BARs of"
            " their cards. Run 'gpu-passthrough nova config' on the compute"
            " host itself to see which hw:maxphysaddr_bits they need."
        )
    return lines


def _need_comment(flavor: Flavor) -> list[str]:
    """Return what guests of the flavor lack, and what is enough."""
    need = flavor.need
    if not isinstance(need, Need):
        return []
    kind = "unit" if need.fewest == 1 else "units"
    where = "below" if need.lack.is_low else "above"
    text = (
        f"{need.fewest} {kind} of {flavor.name} in one guest:"
        f" {shown(need.lack.needed_bytes)} of addresses {where} 4 GiB, where"
        f" a guest has {shown(need.lack.available_bytes)} by default."
    )
    if need.enough:
        text += f" Address bits: {need.enough}."
    if need.steps[-1].bits is None:
        mapped = [step.units for step in need.steps[:-1]]
        most = max(mapped, default=need.fewest - 1)
        text += (
            f" No guest of these hosts can map more than {most}."
            if most
            else " No guest of these hosts can map any."
        )
    return _comment(text)


def _report_in_placement(options: NovaOptions) -> list[str]:
    """Return the option ``report_in_placement``, or why it is not there."""
    if not options.release.has_placement:
        return _comment(
            f"Omitted: report_in_placement. {options.release} does not"
            f" schedule by it (Nova {SINCE[Feature.SCHEDULE]} does), and it"
            " cannot be turned off again."
        )
    return [
        *_comment(
            "Set this on every compute host before [filter_scheduler]"
            " pci_in_placement. It cannot be turned off again."
        ),
        "report_in_placement = true",
    ]


def _trait_comments(host: ComputeHost, options: NovaOptions) -> list[str]:
    """Return what an operator should know of the host's traits, if anything.

    That the hardware may not isolate a unit is reported as a trait.
    """
    lines = []
    if any(trait.UNISOLATED in unit.traits for unit in host.units):
        lines += _comment(
            "The hardware may not isolate all of these devices (see"
            " 'gpu-passthrough group show'): the trait"
            f" {trait.UNISOLATED} marks those."
        )
    if not options.release.has_placement and any(
        unit.traits for unit in host.units
    ):
        lines += _comment(
            f"Omitted: traits. {options.release} does not know"
            f" {Feature.ALIAS_TRAITS}, so no request could name them."
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
        for text in _omissions(options, features)
        for line in _comment(f"Omitted: {text}.")
    ]


def omissions(options: NovaOptions) -> Iterator[str]:
    """Yield each option of an operator that the release does not have."""
    return _omissions(options, _requested_features(options))


def _omissions(
    options: NovaOptions, features: Iterable[Feature]
) -> Iterator[str]:
    for feature in features:
        if not options.release.knows(feature):
            yield (
                f"{feature}, which {options.release} does not have (new in"
                f" {SINCE[feature]})"
            )


def _offer_comment(offer: compute.Offer, options: NovaOptions) -> list[str]:
    """Return what the entries of a unit stand for, and what they lack."""
    unit = offer.unit
    text = f"IOMMU group {unit.iommu_group}"
    if len(unit.primaries) > 1:
        text += f", {len(unit.primaries)} primaries as one unit"
    others = [
        str(f.address) for f in unit.functions if f not in offer.functions
    ]
    if others:
        text += f"; also reserved, not listed: {', '.join(others)}"
    return _comment(f"{'; '.join((text, *_not_of_virtual(offer, options)))}.")


def _not_of_virtual(
    offer: compute.Offer, options: NovaOptions
) -> Iterator[str]:
    """Yield what is left out because a function is a virtual one."""
    specs, release = offer.specs, options.release
    if release.knows(Feature.SPEC_ONCE) and any(
        options.one_time_use != spec.one_time_use for spec in specs
    ):
        yield "omitted: one_time_use, which no virtual function may have"
    lost = {t for s in specs for t in offer.unit.traits - {*s.traits}}
    if release.has_placement and lost:
        yield (
            f"omitted: {', '.join(sorted(lost))}, which not every virtual"
            " function of its kind has"
        )


def _locality_comment(extension: Iterable[str]) -> list[str]:
    """Return what an operator may add who wants cards close to each other.

    :param extension: the options that load this package's filter and
        weigher.
    """
    return [
        *_comment(
            "To place several cards of an instance close to each other,"
            " gpu-passthrough-plugin has a scheduler filter and a weigher,"
            " which primary mode does not need otherwise. To use them,"
            " install the package where nova-scheduler runs, remove the #"
            f" from these lines and add {control_plane.GROUP_FILTER} to"
            " enabled_filters before"
            f" {control_plane.NUMA_FILTER} and {control_plane.PCI_FILTER}."
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
    lines = [
        line for text in texts for line in _comment(f"Not listed: {text}.")
    ]
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
