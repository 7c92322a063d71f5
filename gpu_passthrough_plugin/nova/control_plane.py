"""What the control plane needs for all hosts together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from gpu_passthrough_plugin.model.unit import Unit, UnitFunction
from gpu_passthrough_plugin.nova import address_space, compute, naming
from gpu_passthrough_plugin.nova.address_space import Need
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions

# The scheduler's own, by default.  Source: nova, conf/scheduler.py, the
# same in 26.3.0 and 34.0.0.
DEFAULT_FILTERS = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
)
PCI_FILTER = "PciPassthroughFilter"
NOVAS_FILTERS = "nova.scheduler.filters.all_filters"
GROUP_FILTER = "IommuGroupFilter"
GROUP_FILTER_PATH = f"gpu_passthrough_plugin.nova.filters.{GROUP_FILTER}"
# It checks each candidate against the instance's NUMA nodes.
NUMA_FILTER = "NUMATopologyFilter"
NOVAS_WEIGHERS = "nova.scheduler.weights.all_weighers"
WEIGHER = "gpu_passthrough_plugin.nova.weights.GpuAffinityWeigher"

# How many candidates the scheduler asks Placement for.  Source: nova,
# conf/scheduler.py ([scheduler] max_placement_results).
MAX_CANDIDATES = 1000


class Flavor(NamedTuple):
    """A flavor that asks for one unit of a kind.

    :param items: aliases, and how many functions of each.
    :param need: what its guests lack without more address bits; None for
        nothing, ``Unknown`` where sizes of BARs are not known.
    """

    name: str
    items: naming.Items
    need: Need | Unknown | None = None

    @property
    def address_bits(self) -> int | None:
        """Return the bits that one unit needs set; None for none."""
        if isinstance(self.need, Need) and self.need.fewest == 1:
            return self.need.bits
        return None


class FlavorSize(NamedTuple):
    """What a flavor gives in addition to its unit."""

    vcpus: int = 8
    ram_mib: int = 16384
    disk_gib: int = 40


DEFAULT_SIZE = FlavorSize()


def aliases(
    hosts: Iterable[ComputeHost], options: NovaOptions
) -> tuple[AliasEntry, ...]:
    """Return one entry for each kind of function on any host, by name.

    No name occurs twice: with devices in Placement Nova refuses that.
    Source: nova, pci/request.py.
    """
    entries = {
        entry.name: entry
        for unit in _offered(hosts, options)
        for function in naming.listed_functions(unit, options.mode)
        for entry in [_alias(unit, function, options)]
    }
    return tuple(entries[name] for name in sorted(entries))


def flavors(
    hosts: Iterable[ComputeHost],
    options: NovaOptions,
    size: FlavorSize = DEFAULT_SIZE,
) -> tuple[Flavor, ...]:
    """Return one flavor for each kind of unit on any host, by name."""
    needs: dict[naming.Items, list[Need | Unknown | None]] = {}
    for host in hosts:
        for items, units in _by_kind(host, options).items():
            need = _need(host, units, options, size)
            needs.setdefault(items, []).append(need)
    return tuple(
        Flavor(naming.flavor(items), items, _together(needs[items]))
        for items in sorted(needs, key=lambda i: (naming.flavor(i), i))
    )


def _by_kind(
    host: ComputeHost, options: NovaOptions
) -> Mapping[naming.Items, list[Unit]]:
    kinds: dict[naming.Items, list[Unit]] = {}
    for unit in _offered([host], options):
        kinds.setdefault(naming.items(unit, options.mode), []).append(unit)
    return kinds


def _need(
    host: ComputeHost,
    units: Sequence[Unit],
    options: NovaOptions,
    size: FlavorSize,
) -> Need | Unknown | None:
    """Return what guests of a host lack with units of one kind."""
    if host.hardware is None:
        return MISSING
    sizes = [
        address_space.slots(
            (f.address for f in naming.listed_functions(unit, options.mode)),
            host.hardware.bars,
        )
        for unit in units
    ]
    of_units = [slots for slots in sizes if slots is not None]
    if len(of_units) < len(units):
        return MISSING
    return address_space.need_on(host.hardware, of_units, size.ram_mib)


def _together(
    needs: Iterable[Need | Unknown | None],
) -> Need | Unknown | None:
    """Return the greatest need; ``Unknown`` only where none is known."""
    of_hosts = list(needs)
    unknown = next((n for n in of_hosts if isinstance(n, Unknown)), None)
    worst = address_space.worst(
        need for need in of_hosts if not isinstance(need, Unknown)
    )
    return unknown if worst is None else worst


def flavor_command(
    flavor: Flavor,
    options: NovaOptions,
    size: FlavorSize = DEFAULT_SIZE,
) -> tuple[str, ...]:
    """Return the arguments that create the flavor, not quoted."""
    properties = [f"pci_passthrough:alias={naming.alias_text(flavor.items)}"]
    if flavor.address_bits and options.release.knows(Feature.ADDRESS_BITS):
        properties += [
            f"{address_space.MODE}={address_space.EMULATE}",
            f"{address_space.BITS}={flavor.address_bits}",
        ]
    if options.host_trait:
        properties.append(f"trait:{options.host_trait}=required")
    return (
        "openstack",
        "flavor",
        "create",
        *("--vcpus", str(size.vcpus)),
        *("--ram", str(size.ram_mib)),
        *("--disk", str(size.disk_gib)),
        *(word for text in properties for word in ("--property", text)),
        flavor.name,
    )


def filters(
    options: NovaOptions, enabled: Iterable[str] = DEFAULT_FILTERS
) -> tuple[str, ...]:
    """Return the scheduler's filters, in order, with those needed here.

    IommuGroupFilter makes candidates of whole groups, and has to precede
    the filters that choose among candidates.

    :param enabled: the filters that the operator has enabled.
    """
    names = [name for name in enabled if name != GROUP_FILTER]
    if PCI_FILTER not in names:
        names.append(PCI_FILTER)
    if options.mode is Mode.FULL:
        choosing = names.index(PCI_FILTER)
        if NUMA_FILTER in names:
            choosing = min(choosing, names.index(NUMA_FILTER))
        names.insert(choosing, GROUP_FILTER)
    return tuple(names)


def most_candidates(hosts: Iterable[ComputeHost], options: NovaOptions) -> int:
    """Return how many ways there are at most to take one host's devices.

    In primary mode by the flavor that takes every card of a kind; in full
    mode by one that takes one unit or two of a kind, as Nova counts them:
    function by function, of any group.
    """
    return max((_candidates(host, options) for host in hosts), default=0)


def placement_options(
    hosts: Iterable[ComputeHost], options: NovaOptions
) -> Mapping[str, Mapping[str, str]]:
    """Return Placement's options by section; empty if the defaults suffice.

    Breadth first, or the ways of one wide host fill the answer and no other
    host is in it.  No more ways than Nova looks at: all are made before any
    is sent, and of two cards out of eight there are millions.
    Source: placement, conf/placement.py and conf/workarounds.py.
    """
    if most_candidates(hosts, options) <= MAX_CANDIDATES:
        return {}
    sections: dict[str, Mapping[str, str]] = {}
    if options.release.knows(Feature.CANDIDATES):
        sections["placement"] = {
            "max_allocation_candidates": str(MAX_CANDIDATES),
            "allocation_candidates_generation_strategy": "breadth-first",
        }
    if options.release.knows(Feature.WIDE_TREES):
        sections["workarounds"] = {"optimize_for_wide_provider_trees": "true"}
    return sections


def _offered(
    hosts: Iterable[ComputeHost], options: NovaOptions
) -> Iterator[Unit]:
    for host in hosts:
        for offer in compute.offers(host, options):
            yield offer.unit


def _alias(
    unit: Unit, function: UnitFunction, options: NovaOptions
) -> AliasEntry:
    """Return the entry for a function.

    The device type is always there: Nova assumes type-PCI in one place, and
    fails without one in another.  Source: nova, pci/request.py.
    """
    can_migrate = options.release.knows(Feature.ALIAS_MIGRATABLE)
    return AliasEntry(
        name=naming.alias(unit, function),
        vendor_id=function.vendor_id,
        product_id=function.product_id,
        device_type=function.device_type,
        numa_policy=options.numa_policy,
        resource_class=naming.resource_class(unit, function),
        # An alias that does not ask for it cannot be migrated.
        live_migratable=True
        if options.live_migratable and can_migrate
        else None,
    )


def _candidates(host: ComputeHost, options: NovaOptions) -> int:
    units = [offer.unit for offer in compute.offers(host, options)]
    available = Counter(
        naming.alias(unit, function)
        for unit in units
        for function in naming.listed_functions(unit, options.mode)
    )
    if options.mode is Mode.PRIMARY:
        return max(map(math.factorial, available.values()), default=0)
    return max(
        (
            math.prod(
                math.perm(available[name], times * count)
                for name, count in items
            )
            for items in {naming.items(unit, options.mode) for unit in units}
            for times in (1, 2)
        ),
        default=0,
    )
