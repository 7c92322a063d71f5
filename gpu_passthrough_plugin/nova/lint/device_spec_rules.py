"""What is wrong with one ``device_spec`` entry, held against the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpu_passthrough_plugin.formats import nova_device_spec, nova_entry
from gpu_passthrough_plugin.formats.nova_device_spec import KEYS
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model import resource_class, trait
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova import pools
from gpu_passthrough_plugin.nova.lint.host_view import (
    Condition,
    HostView,
    Listed,
    Problem,
    Rule,
)

REPORTING = (
    "set [pci] report_in_placement = true, which cannot be turned off again"
)
"""Part of a remedy.  Source: nova, compute/pci_placement_translator.py
(ensure_tracking_was_not_enabled_before)."""

VALUES, MATCHES, GREEDY = "values", "matches", "greedy"
KEYS_CHECK, TRAITS = "keys", "traits"

FAIL, WARN = Status.FAIL, Status.WARN
_REPORTED = Condition(report_in_placement=True)
_UNREPORTED = Condition(report_in_placement=False)
# Tags that this project's own filter and weigher read.
_OWN_TAGS = frozenset(
    {pools.GROUP_TAG, pools.SIZE_TAG, pools.TRAITS_TAG, pools.SWITCH_TAG}
)
# Names of Nova's own in the pools that tags are added to.
# Source: nova, pci/stats.py (pool_keys, add_device, ignored_pool_tags).
_POOL_KEYS = frozenset(
    {"dev_type", "numa_node", "count", "devices", "parent_ifname"}
)
_HEX = frozenset("0123456789abcdefABCDEF")


def _unreadable(view: HostView) -> Iterator[Problem]:
    for fault in view.spec_faults:
        yield fault.place, (fault.text, fault.remedy)


def _network_devices(view: HostView) -> Iterator[Problem]:
    for entry in view.listed:
        if entry.spec.devname is not None:
            yield entry.place, (entry.spec.devname,)


def _match_nothing(view: HostView) -> Iterator[Problem]:
    for entry in view.listed:
        if not entry.matched and entry.spec.devname is None:
            yield entry.place, ()


def _hidden(view: HostView) -> Iterator[Problem]:
    """Source: nova, pci/whitelist.py (device_assignable): the first wins."""
    for number, entry in enumerate(view.listed):
        if entry.matched and not entry.taken:
            matched = {device.address for device in entry.matched}
            places = dict.fromkeys(
                other.place
                for other in view.listed[:number]
                if any(device.address in matched for device in other.taken)
            )
            yield entry.place, (", ".join(places),)


def _everything(view: HostView) -> Iterator[Problem]:
    for entry in view.listed:
        if entry.spec.is_everything:
            yield entry.place, (len(entry.matched),)


def _several_cards(view: HostView) -> Iterator[Problem]:
    for entry in view.listed:
        address = entry.line.written.get("address")
        if entry.spec.is_everything or not _names_one_card(address):
            continue
        cards = sorted(
            {
                device.address.slot_address: str(device.address)[:-2]
                for device in entry.matched
                if device.role.is_assigned
                and device.device_type is not DeviceType.VF
            }.values()
        )
        if len(cards) > 1:
            yield entry.place, (len(cards), ", ".join(cards))


def _names_one_card(address: object) -> bool:
    """Return whether an address is written without a wildcard."""
    if isinstance(address, Mapping):
        written = [
            str(address[name])
            for name in ("bus", "slot", "function")
            if name in address
        ]
        return "bus" in address and all(map(_HEX.issuperset, written))
    return bool(address) and "*" not in str(address)


def _deprecated_names(view: HostView) -> Iterator[Problem]:
    for value in view.conf.device_spec:
        if value.option != "device_spec":
            yield value.place, (value.option,)


def _later_keys(view: HostView) -> Iterator[Problem]:
    for entry, name in _tags(view):
        if name in KEYS and not KEYS[name].is_known(view.release):
            yield entry.place, (view.release, name)


def _unreported_keys(view: HostView) -> Iterator[Problem]:
    for entry, name in _tags(view):
        is_refused = name == "one_time_use" and entry.spec.one_time_use
        key = KEYS.get(name)
        is_read = key and key.is_for_placement and key.is_known(view.release)
        if is_read and not is_refused:
            yield entry.place, (name,)


def _one_time_use(view: HostView) -> Iterator[Problem]:
    """Source: nova, pci/devspec.py (_init_dev_details)."""
    for entry in view.listed:
        if entry.spec.one_time_use:
            yield entry.place, ()


def _unknown_keys(view: HostView) -> Iterator[Problem]:
    readable = KEYS.keys() | _OWN_TAGS | _POOL_KEYS
    for entry, name in _tags(view):
        if name not in readable:
            yield entry.place, (name,)


def _replacing_keys(view: HostView) -> Iterator[Problem]:
    """Source: nova, pci/stats.py (_create_pool_keys_from_dev)."""
    for entry, name in _tags(view):
        if name in _POOL_KEYS:
            value = nova_entry.shown(entry.line.written[name])
            yield entry.place, (name, value)


def _nested_tags(view: HostView) -> Iterator[Problem]:
    """Yield tags that Nova cannot store with the pools of the host.

    Source: nova, objects/pci_device_pool.py and objects/fields.py
    (DictOfNullableStrings).
    """
    for entry in view.listed:
        for name, value in entry.spec.tags.items():
            if entry.taken and isinstance(value, (list, dict)):
                yield entry.place, (name, nova_entry.shown(value))


def _not_a_node(view: HostView) -> Iterator[Problem]:
    """Source: nova, objects/pci_device_pool.py (numa_node)."""
    for entry in view.listed:
        value = entry.spec.tags.get("numa_node")
        if entry.taken and value is not None and not _is_number(value):
            yield entry.place, (nova_entry.shown(value),)


def _is_number(value: object) -> bool:
    try:
        int(str(value))
    except ValueError:
        return isinstance(value, (bool, float))
    return True


def _remote(view: HostView) -> Iterator[Problem]:
    """Source: nova, pci/devspec.py (_ensure_remote_managed_dev_vpd_serial)."""
    for entry in view.listed:
        if entry.spec.is_remote_managed and entry.taken:
            yield entry.place, ()


def _not_classes(view: HostView) -> Iterator[Problem]:
    for entry in view.listed:
        name = entry.spec.resource_class
        if name and not resource_class.is_class(resource_class.normal(name)):
            yield entry.place, (nova_entry.shown(name),)


def _traits_with_space(view: HostView) -> Iterator[Problem]:
    for place, name in _traits(view):
        if name != name.strip():
            yield place, (name, trait.normal(name))


def _not_traits(view: HostView) -> Iterator[Problem]:
    for place, name in _traits(view):
        is_valid = name and trait.is_trait(trait.normal(name))
        if not is_valid and name == name.strip():
            yield place, (name,)


RULES = (
    Rule(VALUES, FAIL, _unreadable, "{0}", "{1}"),
    Rule(VALUES, FAIL, _nested_tags,
         "{0} {1} is not a text: nova-compute cannot report this host's"
         " devices with it", "write it as one text in double quotes"),
    Rule(VALUES, FAIL, _not_a_node,
         "numa_node {0} is not a number: nova-compute cannot report this"
         " host's devices with it", "remove it"),
    Rule(VALUES, FAIL, _not_classes,
         "resource_class {0} is not valid in Placement: nova-compute cannot"
         " report this host's devices with it",
         f"use {resource_class.EXPECTED}", _REPORTED),
    Rule(MATCHES, WARN, _network_devices,
         "devname {0!r} was not resolved to a function",
         "use its PCI address: the name of a network device can change"),
    Rule(MATCHES, WARN, _match_nothing, "matches no function of this host",
         "compare it with 'gpu-passthrough device list'; remove it unless"
         " another host needs it"),
    Rule(MATCHES, WARN, _hidden,
         "has no effect: {0} already matches all of its functions",
         "put the narrower entry first, or remove it"),
    Rule(GREEDY, FAIL, _everything,
         "has neither ids nor an address, so it matches all {0} functions of"
         " the host", "set vendor_id and product_id, or an address"),
    Rule(GREEDY, WARN, _several_cards,
         "its address has no wildcard, yet it matches {0} cards: {1}",
         "write the full address, such as 0000:06:00.0; or * for each part"
         " that may be anything"),
    Rule(KEYS_CHECK, WARN, _deprecated_names, "{0} is a deprecated name",
         "use device_spec in [pci]"),
    Rule(KEYS_CHECK, WARN, _later_keys,
         "{0} does not know {1}, and ignores it",
         "remove it, or upgrade Nova"),
    Rule(KEYS_CHECK, WARN, _unreported_keys,
         "{0} has no effect while report_in_placement is off",
         f"remove it, or {REPORTING}", _UNREPORTED),
    Rule(KEYS_CHECK, FAIL, _one_time_use,
         "nova-compute does not start with one_time_use while"
         " report_in_placement is off", f"remove it, or {REPORTING}",
         Condition(Feature.SPEC_ONCE, report_in_placement=False)),
    Rule(KEYS_CHECK, WARN, _unknown_keys,
         "Nova does not know the key {0!r}: it is only a tag, and restricts"
         " nothing",
         "check its spelling: devices are matched by vendor_id, product_id,"
         " address and devname"),
    Rule(KEYS_CHECK, WARN, _replacing_keys,
         "the tag {0!r} replaces what Nova knows of the device: aliases and"
         " NUMA policies see {1}", "remove it"),
    Rule(KEYS_CHECK, WARN, _remote,
         "remote_managed: only functions that have a serial number in their"
         " VPD are listed, which is not checked here, and no alias gets them",
         "use it for the virtual functions of a DPU that Neutron's ports"
         " request"),
    # Source: nova, compute/pci_placement_translator.py
    # (ensure_no_dev_spec_with_devname).
    Rule(KEYS_CHECK, FAIL, _network_devices,
         "nova-compute does not accept devname while report_in_placement is"
         " on",
         "use its PCI address", _REPORTED),
)  # fmt: skip
TRAIT_RULES = (
    Rule(TRAITS, WARN, _traits_with_space,
         "Nova keeps the space in {0!r} and reads it as {1}",
         "remove the spaces next to the commas in traits, in device_spec and"
         " in alias"),
    Rule(TRAITS, FAIL, _not_traits, "{0!r} is not a valid trait",
         f"use {trait.EXPECTED}"),
)  # fmt: skip
"""Of ``device_spec`` and ``alias`` alike, where Nova reads them."""


def _tags(view: HostView) -> Iterator[tuple[Listed, str]]:
    """Yield each entry with each key that no device is matched by."""
    for entry in view.listed:
        for name in entry.line.written:
            if name not in nova_device_spec.MATCHED:
                yield entry, name


def _traits(view: HostView) -> Iterator[tuple[str, str]]:
    """Yield the place of each name of a trait, and the name as written."""
    if view.conf.report_in_placement:
        for entry in view.listed:
            for name in entry.spec.traits:
                yield entry.place, name
    if view.is_placed or view.may_be_placed:
        for line in view.aliases:
            for name in line.entry.traits:
                yield line.place, name
