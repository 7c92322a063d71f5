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

or with one key, ``name``: of a resource class, or of traits.  For each
question one line of answer is written; for a name:

resource_class, traits
    what Nova makes of it.

For a configuration:

refused
    what Nova does not start with, as text; empty where it starts.
listed
    for each address of a function that Nova may hand out, the number of
    the ``device_spec`` entry that lists it.
aliases
    for each alias the addresses that a request for it may get, by the
    pools alone: what Placement is asked for is not looked at.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import nova.conf
from nova import context, objects
from nova.compute import pci_placement_translator
from nova.pci import request, stats, utils, whitelist

Device = Mapping[str, Any]

_REQUEST = "00000000-0000-4000-8000-000000000000"

CONF = nova.conf.CONF


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """What Nova makes of one configuration, or of a name."""
    if "name" in question:
        return named(question["name"])
    devices: Sequence[Device] = question["devices"]
    physical = {d["address"] for d in devices if d["dev_type"] == "type-PF"}
    # In the place of a look at this machine's /sys.
    utils.is_physical_function = lambda domain, bus, slot, function: (
        f"{domain}:{bus}:{slot}.{function}" in physical
    )
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(question["conf"])
        file.flush()
        try:
            read(file.name)
            specs = whitelist.Whitelist(CONF.pci.device_spec)
            report(specs, devices)
            aliases = parsed_aliases()
        # Nova's exceptions have no common root, and some are Python's own.
        except Exception as error:  # noqa: BLE001 - whatever it is, Nova ends
            refused = f"{type(error).__name__}: {error}"
            return {"refused": refused, "listed": {}, "aliases": {}}
    return {
        "refused": "",
        "listed": listed(specs, devices),
        "aliases": {
            name: [d["address"] for d in devices if fits(specs, alias, d)]
            for name, alias in aliases.items()
        },
    }


def named(name: str) -> dict[str, Any]:
    """What Nova makes of the name of a class, or of traits."""
    translator = pci_placement_translator
    return {
        "resource_class": translator.get_resource_class(name, "10de", "1e87"),
        "traits": sorted(translator.get_traits(name)),
    }


def read(path: str) -> None:
    """Make a file Nova's configuration."""
    CONF([], project="nova", default_config_files=[path],
         default_config_dirs=[])  # fmt: skip


def parsed_aliases() -> Mapping[str, Any]:
    """Policy and specs by name; the function has had two names."""
    parse = getattr(request, "get_alias_from_config", None)
    parse = parse or request._get_alias_from_config
    found: Mapping[str, Any] = getattr(parse, "__wrapped__", parse)()
    return found


def report(specs: Any, devices: Sequence[Device]) -> None:
    """Report the devices to Placement, as far as that needs no Placement."""
    if not CONF.pci.report_in_placement:
        return
    pci_placement_translator.ensure_no_dev_spec_with_devname(specs.specs)
    view = pci_placement_translator.PlacementView("host", [])
    for device in devices:
        if specs.device_assignable(dict(device)):
            found = pci_device(device)
            view.process_dev(found, specs.get_devspec(found))


def listed(specs: Any, devices: Sequence[Device]) -> dict[str, int]:
    """The entry that lists each device, by its number."""
    found = {}
    for device in devices:
        spec = specs.device_assignable(dict(device))
        if spec is not None:
            found[device["address"]] = specs.specs.index(spec)
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
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
