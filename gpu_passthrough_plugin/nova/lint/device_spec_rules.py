"""What is wrong with one ``device_spec`` entry, held against the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpu_passthrough_plugin.formats import nova_device_spec
from gpu_passthrough_plugin.formats.nova_device_spec import KEYS
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Role
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova import pools
from gpu_passthrough_plugin.nova.lint.host_view import (
    Condition,
    HostView,
    Listed,
    Rule,
)

VALUES, MATCHES, GREEDY = "values", "matches", "greedy"
KEYS_CHECK, TRAITS = "keys", "traits"

# Tags that this project's own filter and weigher read.
_OWN_TAGS = frozenset(
    {pools.GROUP_TAG, pools.SIZE_TAG, pools.TRAITS_TAG, pools.SWITCH_TAG}
)
_HEX = frozenset("0123456789abcdefABCDEF")


def unreadable(view: HostView) -> Iterator[Finding]:
    """Find entries that Nova does not start with, or that are not tried."""
    for fault in view.spec_faults:
        yield Finding(
            VALUES, Status.FAIL, fault.text, fault.remedy, fault.place
        )


def network_device(view: HostView) -> Iterator[Finding]:
    """Find entries that name a network interface, which is not looked up."""
    for entry in view.listed:
        spec = entry.line.entry
        if spec.devname is not None:
            yield _warn(
                MATCHES,
                entry,
                f"devname {spec.devname!r} was not resolved to a function",
                "use its PCI address: the name of a network device can change",
            )


def matches_nothing(view: HostView) -> Iterator[Finding]:
    """Find entries that match no function of this host."""
    for entry in view.listed:
        if not entry.matched and entry.line.entry.devname is None:
            yield _warn(
                MATCHES,
                entry,
                "matches no function of this host",
                "compare it with 'gpu-passthrough device list'; remove it"
                " unless another host needs it",
            )


def hidden(view: HostView) -> Iterator[Finding]:
    """Find entries whose functions all match an entry before them.

    Source: nova, pci/whitelist.py (device_assignable): the first wins.
    """
    for number, entry in enumerate(view.listed):
        if not entry.matched or entry.taken:
            continue
        matched = {device.address for device in entry.matched}
        places = dict.fromkeys(
            other.line.place
            for other in view.listed[:number]
            if any(device.address in matched for device in other.taken)
        )
        yield _warn(
            MATCHES,
            entry,
            f"has no effect: {', '.join(places)} already matches all of its"
            " functions",
            "put the narrower entry first, or remove it",
        )


def everything(view: HostView) -> Iterator[Finding]:
    """Find entries that match every function of the host."""
    for entry in view.listed:
        if entry.line.entry.is_everything:
            yield _fail(
                GREEDY,
                entry,
                "has neither ids nor an address, so it matches all"
                f" {len(entry.matched)} functions of the host",
                "set vendor_id and product_id, or an address",
            )


def several_cards(view: HostView) -> Iterator[Finding]:
    """Find entries that seem to mean one card, and match more."""
    for entry in view.listed:
        if entry.line.entry.is_everything:
            continue
        if not _names_one_card(entry.line.written.get("address")):
            continue
        cards = sorted(
            {
                device.address.card: str(device.address)[:-2]
                for device in entry.matched
                if device.role is not Role.BRIDGE
                and device.device_type is not DeviceType.VF
            }.values()
        )
        if len(cards) > 1:
            yield _warn(
                GREEDY,
                entry,
                f"its address has no wildcard, yet it matches {len(cards)}"
                f" cards: {', '.join(cards)}",
                "write the full address, such as 0000:06:00.0; or * for each"
                " part that may be anything",
            )


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


def older_name(view: HostView) -> Iterator[Finding]:
    """Find values of an option by the name that it had before."""
    for value in view.conf.device_spec:
        if value.option != "device_spec":
            yield Finding(
                KEYS_CHECK,
                Status.WARN,
                f"{value.option} is a deprecated name",
                "use device_spec in [pci]",
                value.place,
            )


def later_key(view: HostView) -> Iterator[Finding]:
    """Find keys that this release does not know yet."""
    for entry, name in _keys(view):
        key = KEYS.get(name)
        if key and key.feature and not view.release.knows(key.feature):
            yield _warn(
                KEYS_CHECK,
                entry,
                f"{view.release} does not know {name}, and ignores it",
                "remove it, or upgrade Nova",
            )


def unreported_key(view: HostView) -> Iterator[Finding]:
    """Find keys that Nova reads only where it reports to Placement."""
    for entry, name in _keys(view):
        key = KEYS.get(name)
        if key is None or not key.is_for_placement:
            continue
        if key.feature and not view.release.knows(key.feature):
            continue
        if name != "one_time_use" or not entry.line.entry.one_time_use:
            yield _warn(
                KEYS_CHECK,
                entry,
                f"{name} has no effect while report_in_placement is off",
                "set [pci] report_in_placement = true",
            )


def unreported_one_time_use(view: HostView) -> Iterator[Finding]:
    """Find one-time use where Nova does not report to Placement.

    Source: nova, pci/devspec.py (_init_dev_details).
    """
    for entry in view.listed:
        is_known = view.release.knows(Feature.SPEC_ONCE)
        if entry.line.entry.one_time_use and is_known:
            yield _fail(
                KEYS_CHECK,
                entry,
                "nova-compute does not start with one_time_use while"
                " report_in_placement is off",
                "set [pci] report_in_placement = true",
            )


def unknown_key(view: HostView) -> Iterator[Finding]:
    """Find keys that neither Nova nor this project's filter reads."""
    for entry, name in _keys(view):
        if name not in KEYS and name not in _OWN_TAGS:
            yield _warn(
                KEYS_CHECK,
                entry,
                f"Nova does not know the key {name!r}: it is only a tag, and"
                " restricts nothing",
                "check its spelling: devices are matched by vendor_id,"
                " product_id, address and devname",
            )


def reported_network_device(view: HostView) -> Iterator[Finding]:
    """Find network interfaces, which Nova does not report to Placement.

    Source: nova, compute/pci_placement_translator.py
    (ensure_no_dev_spec_with_devname).
    """
    for entry in view.listed:
        if entry.line.entry.devname is not None:
            yield _fail(
                KEYS_CHECK,
                entry,
                "nova-compute does not accept devname while"
                " report_in_placement is on",
                "use its PCI address",
            )


def trait_with_space(view: HostView) -> Iterator[Finding]:
    """Find names of traits with a space at an end, which Nova keeps."""
    for place, name in _traits(view):
        if name != name.strip():
            yield Finding(
                TRAITS,
                Status.FAIL,
                f"Nova keeps the space in {name!r} and reads it as"
                f" {trait.normal(name)}",
                "remove the spaces next to the commas in traits",
                place,
            )


def not_a_trait(view: HostView) -> Iterator[Finding]:
    """Find names that Placement does not take for a trait."""
    for place, name in _traits(view):
        is_valid = name and trait.is_trait(trait.normal(name))
        if not is_valid and name == name.strip():
            yield Finding(
                TRAITS,
                Status.FAIL,
                f"{name!r} is not a valid trait",
                f"use {trait.EXPECTED}",
                place,
            )


RULES = (
    Rule(VALUES, unreadable),
    Rule(MATCHES, network_device),
    Rule(MATCHES, matches_nothing),
    Rule(MATCHES, hidden),
    Rule(GREEDY, everything),
    Rule(GREEDY, several_cards),
    Rule(KEYS_CHECK, older_name),
    Rule(KEYS_CHECK, later_key),
    Rule(KEYS_CHECK, unreported_key, Condition(report_in_placement=False)),
    Rule(
        KEYS_CHECK,
        unreported_one_time_use,
        Condition(report_in_placement=False),
    ),
    Rule(KEYS_CHECK, unknown_key),
    Rule(
        KEYS_CHECK,
        reported_network_device,
        Condition(report_in_placement=True),
    ),
)
TRAIT_RULES = (Rule(TRAITS, trait_with_space), Rule(TRAITS, not_a_trait))
"""Of ``device_spec`` and ``alias`` alike."""


def _keys(view: HostView) -> Iterator[tuple[Listed, str]]:
    """Yield each entry with each key of it that is a tag."""
    for entry in view.listed:
        for name in entry.line.written:
            if name not in nova_device_spec.MATCHED:
                yield entry, name


def _traits(view: HostView) -> Iterator[tuple[str, str]]:
    """Yield each name of a trait as written, with its place."""
    for entry in view.listed:
        for name in entry.line.entry.traits:
            yield entry.line.place, name
    for line in view.aliases:
        for name in line.entry.traits:
            yield line.place, name


def _warn(check: str, entry: Listed, detail: str, remedy: str) -> Finding:
    return Finding(check, Status.WARN, detail, remedy, entry.line.place)


def _fail(check: str, entry: Listed, detail: str, remedy: str) -> Finding:
    return Finding(check, Status.FAIL, detail, remedy, entry.line.place)
