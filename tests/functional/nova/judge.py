# mypy: disable-error-code="import-not-found, unused-ignore"
"""What Nova's own code makes of a nova.conf on a host, as lines of JSON.

A program for Nova's environment, without anything of this project.  Each
line of standard input is a question, an object with these keys:

conf
    the text of a nova.conf.
devices
    the host's functions as nova-compute sees them: objects with
    ``address``, ``vendor_id``, ``product_id``, ``dev_type`` and, of a
    virtual function, ``parent_addr``.

or with one key, ``name``: of a resource class, or of traits; or ``filters``.
For each question one line of answer is written; for a name:

resource_class, traits
    what Nova makes of it.

For filters:

available
    the names of Nova's own.
enabled
    those that the scheduler has by default.

For a configuration:

refused
    what Nova does not start with, as text; empty where it starts.
service
    which service does not start then: ``nova-compute``, ``nova-api`` or
    ``nova-scheduler``; ``report`` where nova-compute cannot report the
    devices to Placement; or ``files`` where oslo.config reads none of it.
listed
    for each address of a function that Nova may hand out, the number of
    the ``device_spec`` entry that lists it.
aliases
    for each alias the addresses that a request for it may get, by the
    pools alone: what Placement is asked for is not looked at.
unsatisfied
    the aliases that no request of a flavor gets a device of this host for.
    Where the scheduler asks Placement, one of the providers that were
    reported has to have the class and the traits.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import nova.conf
from nova import context, exception, objects
from nova.compute import pci_placement_translator, provider_tree
from nova.pci import manager, request, stats, utils
from nova.scheduler import filters, host_manager, weights

Device = Mapping[str, Any]

_REQUEST = "00000000-0000-4000-8000-000000000000"
_HOST = "host"
# What Placement takes as the name of a class or trait that is no standard
# one.  Source: placement, schemas/common.py, resource_class.py and trait.py.
_CUSTOM = re.compile("CUSTOM_[A-Z0-9_]{1,248}")

CONF = nova.conf.CONF


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """What Nova makes of one configuration, or of a name."""
    if "name" in question:
        return named(question["name"])
    if "filters" in question:
        return own_filters()
    devices: Sequence[Device] = question["devices"]
    look_at(devices)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(question["conf"])
        file.flush()
        return judged(file.name, devices)


def look_at(devices: Sequence[Device]) -> None:
    """Have Nova see these devices, in the place of this machine's /sys."""
    ids = {d["address"]: (d["vendor_id"], d["product_id"]) for d in devices}
    physical = {d["address"] for d in devices if d["dev_type"] == "type-PF"}
    virtual = {
        d["parent_addr"]: d["product_id"]
        for d in devices
        if "parent_addr" in d
    }
    utils.is_physical_function = lambda domain, bus, slot, function: (
        f"{domain}:{bus}:{slot}.{function}" in physical
    )
    utils.get_pci_ids_by_pci_addr = ids.__getitem__
    utils.get_vf_product_id_by_pf_addr = virtual.__getitem__


def judged(path: str, devices: Sequence[Device]) -> dict[str, Any]:
    service = "files"
    try:
        read(path)
        service = "nova-compute"
        tracker = tracked(devices)
        service = "nova-api"
        aliases = parsed_aliases()
        service = "nova-scheduler"
        load_filters()
        service = "report"
        providers = reported(tracker)
    # Nova's exceptions have no common root, and some are Python's own.
    except Exception as error:  # noqa: BLE001 - whatever it is, Nova ends
        return {
            "refused": f"{type(error).__name__}: {error}",
            "service": service,
            "listed": {},
            "aliases": {},
            "unsatisfied": [],
        }
    specs = tracker.dev_filter
    # Without those whose address Nova cannot read, which it leaves.
    known = {device.address for device in tracker.pci_devs}
    devices = [device for device in devices if device["address"] in known]
    return {
        "refused": "",
        "service": "",
        "listed": listed(specs, devices),
        "aliases": {
            name: [d["address"] for d in devices if fits(specs, alias, d)]
            for name, alias in aliases.items()
        },
        "unsatisfied": sorted(
            name
            for name in aliases
            if not is_satisfied(name, tracker, providers)
        ),
    }


def named(name: str) -> dict[str, Any]:
    """What Nova makes of the name of a class, or of traits."""
    translator = pci_placement_translator
    return {
        "resource_class": translator.get_resource_class(name, "10de", "1e87"),
        "traits": sorted(translator.get_traits(name)),
    }


def own_filters() -> dict[str, Any]:
    """The scheduler's filters, without any configuration."""
    CONF([], project="nova", default_config_files=[], default_config_dirs=[])
    names = (cls.__name__ for cls in filters.all_filters())
    return {
        "available": sorted(names),
        "enabled": CONF.filter_scheduler.enabled_filters,
    }


def read(path: str) -> None:
    """Make a file Nova's configuration."""
    CONF([], project="nova", default_config_files=[path],
         default_config_dirs=[])  # fmt: skip


def alias_parser() -> Callable[[], Any]:
    """The function that reads all aliases; it has had two names."""
    newest = getattr(request, "get_alias_from_config", None)
    parse: Callable[[], Any] = newest or request._get_alias_from_config
    return parse


def parsed_aliases() -> Mapping[str, Any]:
    """Policy and specs by name."""
    parse = alias_parser()
    # Later releases keep what they read.
    getattr(parse, "cache_clear", lambda: None)()
    found: Mapping[str, Any] = parse()
    return found


def tracked(devices: Sequence[Device]) -> Any:
    """The tracker of a nova-compute that has just started."""
    # Which the driver reads first of all.
    _ = CONF.libvirt.cpu_mode
    node = types.SimpleNamespace(id=1, numa_topology=None)
    tracker = manager.PciDevTracker(context.get_admin_context(), node)
    tracker.update_devices_from_hypervisor_resources(
        json.dumps([{"numa_node": None, "label": "", **d} for d in devices])
    )
    # What is stored of the host's devices.
    tracker.stats.to_device_pools_obj()
    return tracker


def load_filters() -> None:
    """Load what nova-scheduler loads when it starts.

    Source: nova, scheduler/host_manager.py (HostManager.__init__).
    """
    options = CONF.filter_scheduler
    scheduler = object.__new__(host_manager.HostManager)
    classes = filters.HostFilterHandler().get_matching_classes(
        options.available_filters
    )
    scheduler.filter_cls_map = {cls.__name__: cls for cls in classes}
    scheduler.filter_obj_map = {}
    scheduler._choose_host_filters(options.enabled_filters)
    weights.HostWeightHandler().get_matching_classes(options.weight_classes)


def reported(tracker: Any) -> Sequence[Any]:
    """The providers of devices that nova-compute reports to Placement.

    :raises ValueError: when Placement refuses a name.
    """
    tree = provider_tree.ProviderTree()
    tree.new_root(_HOST, _REQUEST)
    pci_placement_translator.update_provider_tree_for_pci(
        tree, _HOST, tracker, {}, []
    )
    providers = [tree.data(uuid) for uuid in tree.get_provider_uuids()]
    for name in {n for p in providers for n in (*p.inventory, *p.traits)}:
        if name.startswith("CUSTOM_") and not _CUSTOM.fullmatch(name):
            raise ValueError(f"Placement takes no {name}")
    return providers


def is_satisfied(name: str, tracker: Any, providers: Sequence[Any]) -> bool:
    """Whether a flavor that requests the alias gets a device."""
    try:
        (asked,) = request._translate_alias_to_requests(f"{name}:1")
        return any(
            tracker.stats.support_requests([asked], mapping)
            for mapping in mappings(asked, providers)
        )
    # Of a name that no flavor can spell, and of several specs where
    # Placement is asked.
    except (ValueError, exception.PciRequestAliasNotDefined):
        return False


def mappings(
    asked: Any, providers: Sequence[Any]
) -> Iterator[Mapping[str, Sequence[str]]]:
    """Each answer of Placement: from which provider a request may be met.

    Where the scheduler does not ask, that is one with nothing in it.
    """
    requests = objects.InstancePCIRequests(requests=[asked])
    spec = objects.RequestSpec(pci_requests=requests, requested_resources=[])
    spec.generate_request_groups_from_pci_requests()
    if not spec.requested_resources:
        yield {}
        return
    (group,) = spec.requested_resources
    for provider in providers:
        is_offered = all(
            provider.inventory.get(name, {}).get("total", 0) >= amount
            for name, amount in group.resources.items()
        )
        if is_offered and group.required_traits <= {*provider.traits}:
            yield {group.requester_id: [provider.uuid]}


def listed(specs: Any, devices: Sequence[Device]) -> dict[str, int]:
    """The entry that lists each device, by its number."""
    found: dict[str, int] = {}
    for number, spec in enumerate(specs.specs):
        for device in devices:
            if spec.match(dict(device)):
                found.setdefault(device["address"], number)
    return found


def fits(specs: Any, alias: Any, device: Device) -> bool:
    """Whether a request for one function may get this device."""
    policy, spec = alias
    pools = stats.PciDeviceStats(
        objects.NUMATopology(cells=[]), dev_filter=specs
    )
    pools.add_device(pci_device(device))
    asked = objects.InstancePCIRequest(
        count=1,
        spec=spec,
        alias_name="x",
        request_id=_REQUEST,
        numa_policy=policy,
    )
    return bool(pools.support_requests([asked], {}))


def pci_device(device: Device) -> Any:
    """The device as nova-compute keeps it."""
    return objects.PciDevice.create(
        context.get_admin_context(),
        {"compute_node_id": 1, "numa_node": None, "label": "", **device},
    )


def main() -> None:
    objects.register_all()
    # In the place of a look at a database: a host that was never tracked.
    objects.PciDeviceList.get_by_compute_node = lambda context, node: (
        objects.PciDeviceList(objects=[])
    )
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
