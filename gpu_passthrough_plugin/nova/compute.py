"""Which functions nova-compute of one host may hand out, and as what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from gpu_passthrough_plugin.formats import nova_pci_address
from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.unit import DeviceType, Unit, UnitFunction
from gpu_passthrough_plugin.nova import naming, pools
from gpu_passthrough_plugin.nova.address_space import HostHardware
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions

# Source: nova, pci/devspec.py (MAX_DOMAIN).
_MAX_DOMAIN = 0xFFFF


@dataclasses.dataclass(frozen=True, slots=True)
class ComputeHost:
    """A compute host and what its assignable groups make.

    :param name: as Nova calls it.
    :param refused: its groups that are not assignable, to say why.
    :param hardware: None where only the ledger is known of the host.
    """

    name: str
    units: tuple[Unit, ...]
    refused: tuple[Group, ...] = ()
    hardware: HostHardware | None = None


class Offer(NamedTuple):
    """A unit that Nova may hand out.

    :param functions: those that are listed, by address.
    :param specs: the entry of each.
    """

    unit: Unit
    functions: tuple[UnitFunction, ...]
    specs: tuple[DeviceSpec, ...]


class LeftOut(NamedTuple):
    """A unit that Nova may not hand out, and why."""

    unit: Unit
    reason: str


def offers(host: ComputeHost, options: NovaOptions) -> tuple[Offer, ...]:
    """Return every unit that Nova can have, by address."""
    return tuple(
        _offer(host, unit, options)
        for unit in _units(host)
        if not reason(unit, options)
    )


def left_out(host: ComputeHost, options: NovaOptions) -> tuple[LeftOut, ...]:
    """Return every unit that Nova cannot have, by address."""
    reasons = ((unit, reason(unit, options)) for unit in _units(host))
    return tuple(LeftOut(unit, text) for unit, text in reasons if text)


def reason(unit: Unit, options: NovaOptions) -> str:
    """Return why Nova cannot have the unit; empty when it can."""
    return next(filter(None, (rule(unit, options) for rule in _RULES)), "")


def _wide_domain(unit: Unit, options: NovaOptions) -> str:
    for function in naming.listed_functions(unit, options.mode):
        if function.address.domain > _MAX_DOMAIN:
            return (
                f"the domain of {function.address} is above ffff, with which"
                " nova-compute does not start"
            )
    return ""


def _no_own_class(unit: Unit, options: NovaOptions) -> str:
    if len(unit.primaries) < 2 or options.release.knows(Feature.ALIAS_CLASS):
        return ""
    return (
        f"it has {len(unit.primaries)} primaries, and {options.release} cannot"
        f" tell it from one card: it does not know {Feature.ALIAS_CLASS}"
    )


def _virtual_own_class(unit: Unit, options: NovaOptions) -> str:
    """Source: nova, compute/pci_placement_translator.py (add_child)."""
    if len(unit.primaries) < 2 or not any(map(_is_virtual, unit.functions)):
        return ""
    return (
        "it has several primaries and virtual functions, but Nova requires"
        " one resource class for all virtual functions of a physical function"
    )


def _virtual_group(unit: Unit, options: NovaOptions) -> str:
    """Source: nova, pci/stats.py (_assert_one_pool_per_rp_uuid)."""
    if (
        options.mode is Mode.PRIMARY
        or len(unit.functions) < 2
        or not any(map(_is_virtual, unit.functions))
    ):
        return ""
    return (
        "it has a virtual function and others, but Nova requires the same"
        " tags on all virtual functions of a physical function: use primary"
        " mode"
    )


def _long_request(unit: Unit, options: NovaOptions) -> str:
    items = naming.items(unit, options.mode)
    texts = naming.alias_text(items), naming.flavor(items)
    if max(map(len, texts)) <= naming.MAX_LENGTH:
        return ""
    return (
        f"it has {len(unit.functions)} functions, and a flavor's request for"
        f" them would be longer than {naming.MAX_LENGTH} characters"
    )


_RULES: tuple[Callable[[Unit, NovaOptions], str], ...] = (
    _wide_domain,
    _no_own_class,
    _virtual_own_class,
    _virtual_group,
    _long_request,
)


def _units(host: ComputeHost) -> list[Unit]:
    return sorted(host.units, key=lambda unit: unit.key)


def _offer(host: ComputeHost, unit: Unit, options: NovaOptions) -> Offer:
    functions = naming.listed_functions(unit, options.mode)
    specs = (_spec(host, unit, function, options) for function in functions)
    return Offer(unit, functions, tuple(specs))


def _spec(
    host: ComputeHost,
    unit: Unit,
    function: UnitFunction,
    options: NovaOptions,
) -> DeviceSpec:
    """Return the entry that lists one function.

    The ids stand next to the address because a physical function's address
    alone matches its virtual functions too, and because another card may be
    in that slot one day.
    """
    traits = tuple(sorted(_traits(host, unit, function)))
    tags = {}
    # A virtual function is a group of its own here (``_virtual_group``).
    if options.mode is Mode.FULL and not _is_virtual(function):
        size = len(naming.listed_functions(unit, options.mode))
        # The kernel's number of the group changes between boots.
        tags[pools.GROUP_TAG] = str(unit.key.address)
        tags[pools.SIZE_TAG] = str(size)
        if traits:
            tags[pools.TRAITS_TAG] = ",".join(traits)
    switch = _shared_switch(host, unit)
    if switch is not None:
        tags[pools.SWITCH_TAG] = str(switch)
    return _supported(
        DeviceSpec(
            address=nova_pci_address.exactly(function.address),
            vendor_id=function.vendor_id,
            product_id=function.product_id,
            resource_class=naming.resource_class(unit, function),
            traits=traits,
            managed=options.managed,
            live_migratable=options.live_migratable,
            one_time_use=options.one_time_use,
            tags=tags,
        ),
        function,
        options,
    )


def _shared_switch(host: ComputeHost, unit: Unit) -> Address | None:
    """Return the switch above the unit; None if no other unit is below it."""
    if any(u.switch == unit.switch and u != unit for u in host.units):
        return unit.switch
    return None


def _traits(
    host: ComputeHost, unit: Unit, function: UnitFunction
) -> frozenset[str]:
    """Return the unit's traits that the function's entry may have.

    Virtual functions below one physical function are of one kind and share
    a provider, and nova-compute stops where their traits differ: they get
    those that all units with functions of that kind have.
    Source: nova, compute/pci_placement_translator.py (add_child).
    """
    traits = unit.traits
    if _is_virtual(function):
        for other in host.units:
            if any(_kind(f) == _kind(function) for f in other.functions):
                shared = traits & other.traits
                # Forbidden, not required: one that has it decides.
                marks = (traits | other.traits) & {trait.UNISOLATED}
                traits = shared | marks
    return traits


def _is_virtual(function: UnitFunction) -> bool:
    return function.device_type is DeviceType.VF


def _kind(function: UnitFunction) -> tuple[int, int, DeviceType]:
    return function.vendor_id, function.product_id, function.device_type


def _supported(
    spec: DeviceSpec, function: UnitFunction, options: NovaOptions
) -> DeviceSpec:
    """Return the entry without what the release or the function cannot have.

    Nova refuses ``one_time_use`` of a virtual function, even ``no``.
    Source: nova, compute/pci_placement_translator.py (add_child).
    """
    release = options.release
    can_once = release.knows(Feature.SPEC_ONCE)
    can_once = can_once and not _is_virtual(function)
    can_managed = release.knows(Feature.SPEC_MANAGED)
    can_migrate = release.knows(Feature.SPEC_MIGRATABLE)
    return dataclasses.replace(
        spec,
        # Without Placement no alias could ask for either.
        resource_class=spec.resource_class if release.has_placement else None,
        traits=spec.traits if release.has_placement else (),
        managed=spec.managed if can_managed else None,
        live_migratable=spec.live_migratable if can_migrate else None,
        one_time_use=spec.one_time_use if can_once else None,
    )
