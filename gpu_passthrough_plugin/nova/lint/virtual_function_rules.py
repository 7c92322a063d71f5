"""What is wrong with entries that list SR-IOV functions.

What virtual functions of one physical function have to have in common.
Source: nova, compute/pci_placement_translator.py (PciResourceProvider).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from gpu_passthrough_plugin.formats import nova_device_spec, nova_entry
from gpu_passthrough_plugin.formats.nova_release import Feature, Release
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint.device_spec_rules import VALUES
from gpu_passthrough_plugin.nova.lint.host_view import (
    Assignable,
    Condition,
    HostView,
    Problem,
    Rule,
    addresses,
    grouped_by,
    places,
    shortened,
)

SRIOV, POOLS = "sriov", "pools"

FAIL, WARN = Status.FAIL, Status.WARN
_REPORTED = Condition(report_in_placement=True)


def _physical_and_virtual(view: HostView) -> Iterator[Problem]:
    """Yield physical functions that are listed with their virtual ones.

    Nova does not report what Neutron requests, so such entries may list both.

    Source: nova, compute/pci_placement_translator.py (_add_dev, add_child).
    """
    reported = {
        entry.device.address: entry
        for entry in view.assignable
        if not entry.spec.is_network
    }
    children = grouped_by(
        reported.values(), lambda entry: entry.device.physical
    )
    for parent, entries in children.items():
        if parent in reported:
            where = places([reported[parent], *entries])
            yield where, (parent, addresses(entries))


def _mixed(
    view: HostView, value: Callable[[Assignable], str]
) -> Iterator[Problem]:
    """Yield physical functions whose reported virtual ones differ in this."""
    reported = [e for e in view.assignable if not e.spec.is_network]
    children = grouped_by(reported, lambda entry: entry.device.physical)
    for parent, entries in children.items():
        by_value = grouped_by(entries, value)
        if parent is not None and len(by_value) > 1:
            examples = [
                f"{text or 'none'} for {same[0].device.address}"
                for text, same in by_value.items()
            ]
            yield places(entries), (parent, shortened(examples))


def _mixed_classes(view: HostView) -> Iterator[Problem]:
    yield from _mixed(view, lambda entry: entry.resource_class)


def _mixed_traits(view: HostView) -> Iterator[Problem]:
    yield from _mixed(
        view, lambda entry: ", ".join(sorted(entry.traits(view.release)))
    )


def _mixed_tags(view: HostView) -> Iterator[Problem]:
    """Source: nova, pci/stats.py (_assert_one_pool_per_rp_uuid)."""
    yield from _mixed(
        view, lambda entry: json.dumps(_pool_tags(entry, view.release))
    )


def _pool_tags(entry: Assignable, release: Release) -> Mapping[str, object]:
    """Return what an entry adds to the pools of its functions.

    A key that is null is not the same as none: Nova compares the names, too.
    Source: nova, pci/stats.py (_find_pool), pci/devspec.py
    (_normalize_device_spec_tag).
    """
    ignored = ("resource_class", "traits", *nova_device_spec.MATCHED)
    booleans = {
        name
        for name in ("managed", "live_migratable", "one_time_use")
        if nova_device_spec.KEYS[name].is_known(release)
    }
    return {
        name: nova_entry.boolean(value) if name in booleans else value
        for name, value in sorted(entry.line.written.items())
        if name not in ignored
    }


def _one_time_virtual(view: HostView) -> Iterator[Problem]:
    """Yield virtual functions with ``one_time_use``, whatever its value.

    Source: nova, compute/pci_placement_translator.py (add_child).
    """
    for entry in view.assignable:
        is_virtual = entry.device.device_type is DeviceType.VF
        if is_virtual and "one_time_use" in entry.line.written:
            yield entry.place, (entry.device.address,)


def _remote_physical(view: HostView) -> Iterator[Problem]:
    """Yield entries with one physical function's address, for a DPU.

    Nova should take those with the ids of its virtual functions, but looks
    for these at the text of an object without one.
    Source: nova, pci/devspec.py (_init_dev_details: str() of a
    PciAddressGlobSpec), the same from 26.3.0 to 34.0.0.
    """
    physical = {
        str(d.address): d
        for d in view.devices
        if d.device_type is DeviceType.PF
    }
    for entry in view.listed:
        device = physical.get(entry.spec.address.single)
        if entry.spec.is_remote_managed and device is not None:
            yield entry.place, (device.address,)


_UNREPORTABLE = (
    "nova-compute does not report this host's devices to Placement otherwise"
)
_SAME_TAGS = (
    "use the same tags for all of them: with pci_in_placement Nova gives them"
    " to no instance otherwise"
)
RULES = (
    Rule(SRIOV, FAIL, _physical_and_virtual,
         "lists {0} together with its virtual functions {1}",
         "list one or the other; the address of a physical function also"
         " matches its virtual functions, unless product_id is set too",
         _REPORTED),
    Rule(SRIOV, FAIL, _one_time_virtual,
         "one_time_use is set for {0}, which is a virtual function",
         "remove it: nova-compute cannot report this host's devices to"
         " Placement with it",
         Condition(Feature.SPEC_ONCE, report_in_placement=True)),
    Rule(SRIOV, FAIL, _mixed_classes,
         "virtual functions of {0} have different resource classes: {1}",
         f"use the same resource_class for all of them: {_UNREPORTABLE}",
         _REPORTED),
    Rule(SRIOV, FAIL, _mixed_traits,
         "virtual functions of {0} have different traits: {1}",
         "use the same traits and live_migratable for all of them:"
         f" {_UNREPORTABLE}", _REPORTED),
    Rule(POOLS, FAIL, _mixed_tags,
         "virtual functions of {0} have different tags: {1}", _SAME_TAGS,
         Condition(Feature.ONE_POOL, pci_in_placement=True)),
    Rule(POOLS, WARN, _mixed_tags,
         "virtual functions of {0} have different tags: {1}", _SAME_TAGS,
         Condition(Feature.ONE_POOL, may_be_placed=True)),
    Rule(VALUES, FAIL, _remote_physical,
         "remote_managed with the address of {0}, a physical function:"
         " nova-compute does not start",
         "list its virtual functions by their own addresses, or by a pattern"
         " and their product_id; or remove remote_managed"),
)  # fmt: skip
