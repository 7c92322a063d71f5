"""What the compute service of one host may hand out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import DeviceType, Unit, UnitFunction
from gpu_passthrough_plugin.nova import naming
from gpu_passthrough_plugin.nova.options import Asked, Host, Mode
from gpu_passthrough_plugin.nova.spec import DeviceSpec

ACS_OVERRIDE = "CUSTOM_PCI_ACS_OVERRIDE"

# Source: nova, pci/devspec.py (MAX_DOMAIN).
_LAST_DOMAIN = 0xFFFF


class Offer(NamedTuple):
    """A unit that Nova is told of, and the entries that do."""

    unit: Unit
    specs: tuple[DeviceSpec, ...]


class LeftOut(NamedTuple):
    """A unit that Nova is not told of, and why."""

    unit: Unit
    why: str


def offers(host: Host, asked: Asked) -> tuple[Offer, ...]:
    """Every unit that Nova can have, by address."""
    return tuple(
        Offer(unit, tuple(_specs(host, unit, asked)))
        for unit in _units(host)
        if not reason(unit, asked)
    )


def left_out(host: Host, asked: Asked) -> tuple[LeftOut, ...]:
    """Every unit that it cannot, by address."""
    found = ((unit, reason(unit, asked)) for unit in _units(host))
    return tuple(LeftOut(unit, why) for unit, why in found if why)


def reason(unit: Unit, asked: Asked) -> str:
    """Why Nova cannot have the unit; empty when it can."""
    return next(filter(None, (rule(unit, asked) for rule in _RULES)), "")


def _wide_domain(unit: Unit, asked: Asked) -> str:
    for function in naming.listed(unit, asked.mode):
        if function.address.domain > _LAST_DOMAIN:
            return (
                f"the domain of {function.address} is above ffff, which"
                " nova-compute does not start with"
            )
    return ""


def _no_own_class(unit: Unit, asked: Asked) -> str:
    if len(unit.primaries) < 2 or asked.release.knows(Feature.ALIAS_CLASS):
        return ""
    return (
        f"it has {len(unit.primaries)} primaries, and {asked.release} cannot"
        f" tell it from one card: {Feature.ALIAS_CLASS} came later"
    )


def _virtual_own_class(unit: Unit, asked: Asked) -> str:
    """Source: nova, compute/pci_placement_translator.py (add_child)."""
    if len(unit.primaries) < 2 or not any(map(_is_virtual, unit.functions)):
        return ""
    return (
        "it has several primaries, and virtual functions, which Nova wants"
        " to be of one resource class below one physical function"
    )


def _virtual_group(unit: Unit, asked: Asked) -> str:
    """Source: nova, pci/stats.py (_assert_one_pool_per_rp_uuid)."""
    if (
        asked.mode is Mode.PRIMARY
        or len(unit.functions) < 2
        or not any(map(_is_virtual, unit.functions))
    ):
        return ""
    return (
        "it has a virtual function and others, and Nova wants the same tags"
        " on all virtual functions below one physical function: list it in"
        " primary mode"
    )


def _long_request(unit: Unit, asked: Asked) -> str:
    wanted = naming.items(unit, asked.mode)
    texts = naming.alias_text(wanted), naming.flavor(wanted)
    if max(map(len, texts)) <= naming.MOST:
        return ""
    return (
        f"it has {len(unit.functions)} functions, and what a flavor asks"
        f" for them with is longer than {naming.MOST} characters"
    )


_RULES: tuple[Callable[[Unit, Asked], str], ...] = (
    _wide_domain,
    _no_own_class,
    _virtual_own_class,
    _virtual_group,
    _long_request,
)


def _units(host: Host) -> list[Unit]:
    return sorted(host.units, key=lambda unit: unit.key)


def _specs(host: Host, unit: Unit, asked: Asked) -> Iterator[DeviceSpec]:
    functions = naming.listed(unit, asked.mode)
    for function in functions:
        traits = _traits(host, unit, function)
        spec = DeviceSpec(
            address=function.address,
            vendor_id=function.vendor_id,
            product_id=function.product_id,
            resource_class=naming.resource_class(unit, function),
            traits=traits,
            managed=asked.managed,
            live_migratable=asked.live_migratable,
            one_time_use=asked.one_time_use,
            switch=_shared_switch(host, unit),
        )
        # A virtual function is a group of its own here (``_virtual_group``).
        if asked.mode is Mode.FULL and not _is_virtual(function):
            spec = dataclasses.replace(
                spec,
                # The kernel's number changes between boots.
                iommu_group=str(unit.key.address),
                group_size=len(functions),
                group_traits=traits,
            )
        yield _known(spec, function, asked)


def _shared_switch(host: Host, unit: Unit) -> Address | None:
    """The switch above it; None where nothing else of Nova's is below."""
    if any(u.switch == unit.switch and u != unit for u in host.units):
        return unit.switch
    return None


def _traits(host: Host, unit: Unit, function: UnitFunction) -> frozenset[str]:
    """Those of its unit; of a virtual function what all of its kind have.

    All below one physical function are of a kind and share a provider, and
    Nova ends its service where they differ.
    Source: nova, compute/pci_placement_translator.py (add_child).
    """
    traits = unit.traits
    if _is_virtual(function):
        for other in host.units:
            if any(_kind(f) == _kind(function) for f in other.functions):
                traits &= other.traits
    return traits | {ACS_OVERRIDE} if host.has_acs_override else traits


def _is_virtual(function: UnitFunction) -> bool:
    return function.device_type is DeviceType.VF


def _kind(function: UnitFunction) -> tuple[int, int, DeviceType]:
    return function.vendor_id, function.product_id, function.device_type


def _known(
    spec: DeviceSpec, function: UnitFunction, asked: Asked
) -> DeviceSpec:
    """The entry without what the release does not know, or not of it.

    Nova wants no ``one_time_use`` of a virtual function, not even ``no``.
    Source: nova, compute/pci_placement_translator.py (add_child).
    """
    release = asked.release
    can_once = release.knows(Feature.SPEC_ONCE)
    can_once = can_once and not _is_virtual(function)
    can_managed = release.knows(Feature.SPEC_MANAGED)
    can_migrate = release.knows(Feature.SPEC_MIGRATABLE)
    return dataclasses.replace(
        spec,
        # Without Placement nobody could ask for either.
        resource_class=spec.resource_class if release.has_placement else None,
        traits=spec.traits if release.has_placement else frozenset(),
        managed=spec.managed if can_managed else None,
        live_migratable=spec.live_migratable if can_migrate else None,
        one_time_use=spec.one_time_use if can_once else None,
    )
