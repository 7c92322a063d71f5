"""What the control plane needs for all hosts together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model.unit import Unit, UnitFunction
from gpu_passthrough_plugin.nova import compute, naming
from gpu_passthrough_plugin.nova.options import Asked, Host, Mode
from gpu_passthrough_plugin.nova.spec import AliasEntry

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
GROUP_FILTER = "gpu_passthrough_plugin.nova.filters.IommuGroupFilter"
# It checks each candidate against the instance's NUMA nodes.
NUMA_FILTER = "NUMATopologyFilter"
NOVAS_WEIGHERS = "nova.scheduler.weights.all_weighers"
WEIGHER = "gpu_passthrough_plugin.nova.weights.GpuAffinityWeigher"

# So many candidates the scheduler asks Placement for.  Source: nova,
# conf/scheduler.py ([scheduler] max_placement_results).
MOST_RESULTS = 1000


class Flavor(NamedTuple):
    """What asks for one unit of a kind.

    :param items: aliases, and how many functions of each.
    """

    name: str
    items: tuple[tuple[str, int], ...]


class Size(NamedTuple):
    """What a flavor gives beside its unit."""

    vcpus: int = 8
    ram_mib: int = 16384
    disk_gib: int = 40


DEFAULT_SIZE = Size()


def aliases(hosts: Iterable[Host], asked: Asked) -> tuple[AliasEntry, ...]:
    """One entry for each kind of function on any host, by name.

    No name is there twice: with devices in Placement Nova refuses that.
    Source: nova, pci/request.py.
    """
    found = {
        entry.name: entry
        for unit in _offered(hosts, asked)
        for function in naming.listed(unit, asked.mode)
        for entry in [_alias(unit, function, asked)]
    }
    return tuple(found[name] for name in sorted(found))


def flavors(hosts: Iterable[Host], asked: Asked) -> tuple[Flavor, ...]:
    """One for each kind of unit on any host, by name."""
    wanted = {naming.items(u, asked.mode) for u in _offered(hosts, asked)}
    return tuple(sorted(Flavor(naming.flavor(i), i) for i in wanted))


def command(
    flavor: Flavor, size: Size = DEFAULT_SIZE, host_trait: str | None = None
) -> tuple[str, ...]:
    """The words that make the flavor, not quoted.

    :param host_trait: what its hosts have to have.
    """
    required = f"trait:{host_trait}=required"
    return (
        "openstack",
        "flavor",
        "create",
        *("--vcpus", str(size.vcpus)),
        *("--ram", str(size.ram_mib)),
        *("--disk", str(size.disk_gib)),
        "--property",
        f"pci_passthrough:alias={naming.alias_text(flavor.items)}",
        *(("--property", required) if host_trait else ()),
        flavor.name,
    )


def filters(
    asked: Asked, enabled: Iterable[str] = DEFAULT_FILTERS
) -> tuple[str, ...]:
    """The scheduler's filters with those that this needs, in order.

    Ours makes candidates of whole groups, and has to be before those that
    choose among candidates.

    :param enabled: what the operator has; ours goes where it has to be.
    """
    group = GROUP_FILTER.rpartition(".")[2]
    names = [name for name in enabled if name != group]
    if PCI_FILTER not in names:
        names.append(PCI_FILTER)
    if asked.mode is Mode.FULL:
        choosing = names.index(PCI_FILTER)
        if NUMA_FILTER in names:
            choosing = min(choosing, names.index(NUMA_FILTER))
        names.insert(choosing, group)
    return tuple(names)


def most_candidates(hosts: Iterable[Host], asked: Asked) -> int:
    """How many ways there are at most to take what is on one host.

    In primary mode by the flavor that takes every card of a kind; in full
    mode by one that takes one unit or two of a kind, as Nova counts them:
    function by function, of any group.
    """
    return max((_candidates(host, asked) for host in hosts), default=0)


def tuning(
    hosts: Iterable[Host], asked: Asked
) -> Mapping[str, Mapping[str, str]]:
    """Placement's options by section; none where none is needed.

    Breadth first, or one wide host's ways fill the answer and no other
    host is in it.  No more ways than Nova looks at: all are made before
    any is sent, and of two cards out of eight there are millions.
    Source: placement, conf/placement.py and conf/workarounds.py.
    """
    if most_candidates(hosts, asked) <= MOST_RESULTS:
        return {}
    options: dict[str, Mapping[str, str]] = {}
    if asked.release.knows(Feature.CANDIDATES):
        options["placement"] = {
            "max_allocation_candidates": str(MOST_RESULTS),
            "allocation_candidates_generation_strategy": "breadth-first",
        }
    if asked.release.knows(Feature.WIDE_TREES):
        options["workarounds"] = {"optimize_for_wide_provider_trees": "true"}
    return options


def _offered(hosts: Iterable[Host], asked: Asked) -> Iterator[Unit]:
    for host in hosts:
        for offer in compute.offers(host, asked):
            yield offer.unit


def _alias(unit: Unit, function: UnitFunction, asked: Asked) -> AliasEntry:
    own = naming.resource_class(unit, function)
    can_migrate = asked.release.knows(Feature.ALIAS_MIGRATABLE)
    return AliasEntry(
        name=naming.alias(unit, function),
        vendor_id=function.vendor_id,
        product_id=function.product_id,
        device_type=function.device_type,
        numa_policy=asked.numa_policy,
        resource_class=own,
        # An alias that does not ask for it cannot be migrated.
        live_migratable=True
        if asked.live_migratable and can_migrate
        else None,
    )


def _candidates(host: Host, asked: Asked) -> int:
    units = [offer.unit for offer in compute.offers(host, asked)]
    have = Counter(
        naming.alias(unit, function)
        for unit in units
        for function in naming.listed(unit, asked.mode)
    )
    if asked.mode is Mode.PRIMARY:
        return max(map(math.factorial, have.values()), default=0)
    return max(
        (
            math.prod(math.perm(have[name], times * n) for name, n in wanted)
            for wanted in {naming.items(unit, asked.mode) for unit in units}
            for times in (1, 2)
        ),
        default=0,
    )
