"""What is wrong with one ``device_spec`` entry, held against the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpu_passthrough_plugin.formats.nova_alias import traits
from gpu_passthrough_plugin.formats.nova_device_spec import (
    GROUP_TAG,
    NETWORK_TAG,
    SIZE_TAG,
    SWITCH_TAG,
    TRAITS_TAG,
    DeviceSpec,
)
from gpu_passthrough_plugin.formats.nova_pci_address import ANY
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Role
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint.whitelist import Case, Listed

VALUES, MATCHES, GREEDY = "values", "matches", "greedy"
KEYS, TRAITS = "keys", "traits"

# Source: nova, conf/pci.py and pci/devspec.py.
_SINCE: Mapping[str, Feature] = {
    "resource_class": Feature.SPEC_CLASS,
    "traits": Feature.SPEC_TRAITS,
    "managed": Feature.SPEC_MANAGED,
    "live_migratable": Feature.SPEC_MIGRATABLE,
    "one_time_use": Feature.SPEC_ONCE,
}
_TAGS = frozenset(
    {
        *_SINCE,
        GROUP_TAG,
        SIZE_TAG,
        TRAITS_TAG,
        SWITCH_TAG,
        NETWORK_TAG,
        "trusted",
        "remote_managed",
    }
)
_PLACED = ("resource_class", "traits", "one_time_use")


def values(of: Case) -> Iterator[Finding]:
    """Entries that Nova does not start with."""
    for fault in of.spec_faults:
        yield fault.finding(VALUES)


def matches(of: Case) -> Iterator[Finding]:
    """Entries that list nothing here."""
    for number, found in enumerate(of.listed):
        spec = found.spec
        if spec.devname:
            yield Finding(
                MATCHES,
                Status.WARN,
                f"which function {spec.devname!r} is was not looked at",
                "name it by its address: a network device's name changes",
                spec.place,
            )
        elif not found.matched:
            yield Finding(
                MATCHES,
                Status.WARN,
                "matches no function of this host",
                "compare it with 'gpu-passthrough device list'; take it out"
                " unless another host needs it",
                spec.place,
            )
        elif not found.taken:
            yield _hidden(found, of.listed[:number])


def _hidden(found: Listed, before: tuple[Listed, ...]) -> Finding:
    lost = {device.address for device in found.matched}
    places = dict.fromkeys(
        other.spec.place
        for other in before
        if any(device.address in lost for device in other.taken)
    )
    return Finding(
        MATCHES,
        Status.WARN,
        f"has no effect: {', '.join(places)} matches all of the same"
        " functions first",
        "put the narrower entry first, or take it out",
        found.spec.place,
    )


def greedy(of: Case) -> Iterator[Finding]:
    """Entries that mean one card, as it seems, and match more."""
    for found in of.listed:
        spec = found.spec
        if _is_everything(spec):
            yield Finding(
                GREEDY,
                Status.FAIL,
                "has neither ids nor an address, and so matches all"
                f" {len(found.matched)} functions of the host",
                "say vendor_id and product_id, or an address",
                spec.place,
            )
            continue
        cards = sorted(
            {
                device.address.card: str(device.address)[:-2]
                for device in found.matched
                if device.role is not Role.BRIDGE
                and device.kind is not DeviceType.VF
            }.values()
        )
        if spec.pattern.is_plain and len(cards) > 1:
            yield Finding(
                GREEDY,
                Status.WARN,
                f"its address has no wildcard, and matches {len(cards)}"
                f" cards: {', '.join(cards)}",
                "write the whole address as a text, such as 0000:06:00.0; or"
                " * for each part where any will do",
                spec.place,
            )


def _is_everything(spec: DeviceSpec) -> bool:
    ids = {spec.vendor_id, spec.product_id, *spec.pattern.texts}
    return not spec.devname and ids <= {ANY, ".*"}


def keys(of: Case) -> Iterator[Finding]:
    """Keys that do not do what somebody may think."""
    for value in of.options.device_spec:
        if value.spelled != "device_spec":
            yield Finding(
                KEYS,
                Status.WARN,
                f"{value.spelled} is an older name",
                "call it device_spec, in [pci]",
                value.place,
            )
    for found in of.listed:
        for key in found.spec.tags:
            yield from _key(key, found.spec, of)
        if found.spec.devname and of.options.report_in_placement:
            yield Finding(
                KEYS,
                Status.FAIL,
                "nova-compute takes no devname where report_in_placement is"
                " on",
                "name the function by its address",
                found.spec.place,
            )


def _key(key: str, spec: DeviceSpec, of: Case) -> Iterator[Finding]:
    feature = _SINCE.get(key)
    if feature and not of.release.knows(feature):
        yield Finding(
            KEYS,
            Status.WARN,
            f"{of.release} does not know {key}, and does not heed it",
            "take it out, or upgrade Nova",
            spec.place,
        )
    elif key in _PLACED and of.options.report_in_placement is False:
        once = key == "one_time_use"
        yield Finding(
            KEYS,
            Status.FAIL if once else Status.WARN,
            f"{key} does nothing while report_in_placement is off",
            "set [pci] report_in_placement = True",
            spec.place,
        )
    elif key not in _TAGS:
        yield Finding(
            KEYS,
            Status.WARN,
            f"{key!r} is no key that Nova heeds; it is only a tag, and"
            " matches nothing less",
            "look at its spelling: vendor_id, product_id, address, devname",
            spec.place,
        )


def spaces(of: Case) -> Iterator[Finding]:
    """Traits that become others than somebody meant."""
    for found in of.listed:
        yield from trait_findings(found.spec.place, found.spec.tag("traits"))
    for alias in of.aliases:
        yield from trait_findings(alias.place, alias.traits)


def trait_findings(place: str, names: str) -> Iterator[Finding]:
    """Names with a space at an end, or that are none to Placement."""
    for name in names.split(",") if names else ():
        (read,) = traits(name) or {""}
        if name != name.strip():
            yield Finding(
                TRAITS,
                Status.FAIL,
                f"Nova keeps the space in {name!r} and reads {read}",
                "write no spaces beside the commas in traits",
                place,
            )
        elif not trait.is_trait(read) or not name:
            yield Finding(
                TRAITS,
                Status.FAIL,
                f"{name!r} is no trait",
                trait.WANTED,
                place,
            )
