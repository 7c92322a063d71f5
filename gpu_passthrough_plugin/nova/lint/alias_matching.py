"""Why no function of a host can satisfy an alias."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import device_ids
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Role
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint.host_view import Device, HostView, Rule

ALIAS_MATCHES = "alias matches"

# Source: os_traits 3.6.0; nova, compute/pci_placement_translator.py
# (_get_traits_for_dev, add_parent).
_MANAGED = "COMPUTE_MANAGED_PCI_DEVICE"
_MIGRATABLE = "HW_PCI_LIVE_MIGRATABLE"
_ONE_TIME_USE = "HW_PCI_ONE_TIME_USE"


class Offered(NamedTuple):
    """A function that an alias may match, and the entry that lists it.

    :param spec: None where no file lists anything.
    """

    device: Device
    spec: DeviceSpec | None

    @property
    def resource_class(self) -> str:
        """The class that Nova reports it as; empty if it reports none."""
        if self.spec is None or self.spec.is_network:
            return ""
        if self.spec.resource_class:
            return resource_class.normal(self.spec.resource_class)
        vendor, product = self.device.vendor_id, self.device.product_id
        if isinstance(vendor, Unknown) or isinstance(product, Unknown):
            return ""
        return resource_class.of_ids(vendor, product)

    @property
    def traits(self) -> frozenset[str]:
        """The traits that Nova reports of it; it adds some by itself."""
        if self.spec is None:
            return frozenset()
        added = {_MANAGED}
        if self.spec.live_migratable:
            added.add(_MIGRATABLE)
        if self.spec.one_time_use:
            added.add(_ONE_TIME_USE)
        return self.spec.given_traits | added


class _Mismatch(NamedTuple):
    """Why an alias matches none of the functions that were left."""

    status: Status
    text: str
    remedy: str


class _Step(NamedTuple):
    """One property that a function needs for an alias to match it.

    :param why: what is said where no function that is left has it.
    """

    fits: Callable[[AliasEntry, Offered, HostView], bool]
    why: Callable[[AliasEntry, Sequence[Offered], HostView], _Mismatch]


def _fits_ids(alias: AliasEntry, offered: Offered, view: HostView) -> bool:
    return _has_ids(alias, offered.device)


def _has_ids(alias: AliasEntry, device: Device) -> bool:
    return alias.vendor_id in (
        None,
        device.vendor_id,
    ) and alias.product_id in (None, device.product_id)


def _why_ids(
    alias: AliasEntry, left: Sequence[Offered], view: HostView
) -> _Mismatch:
    ids = device_ids.pair(alias.vendor_id, alias.product_id)
    if any(_has_ids(alias, device) for device in view.devices):
        return _Mismatch(
            Status.WARN,
            f"no device_spec lists {ids}, which this host has",
            "list it in device_spec, or remove the alias",
        )
    return _Mismatch(
        Status.WARN,
        f"no function of this host is {ids}",
        "compare it with 'gpu-passthrough device list'; the alias may be for"
        " another host",
    )


def _fits_type(alias: AliasEntry, offered: Offered, view: HostView) -> bool:
    """Nova gives a physical function only to an alias that says so."""
    device_type = offered.device.device_type
    if device_type is None:
        return True
    if alias.device_type is None:
        return device_type is not DeviceType.PF
    return device_type is alias.device_type


def _why_type(
    alias: AliasEntry, left: Sequence[Offered], view: HostView
) -> _Mismatch:
    types = sorted(
        {o.device.device_type for o in left if o.device.device_type}
    )
    own = alias.device_type
    asks = f"asks for {own}" if own else "has no device_type"
    return _Mismatch(
        Status.FAIL,
        f"it {asks}, and {left[0].device.address} is {' or '.join(types)}",
        f'set "device_type": "{types[0]}"',
    )


def _fits_class(alias: AliasEntry, offered: Offered, view: HostView) -> bool:
    is_placed = bool(
        alias.resource_class or alias.traits or view.conf.pci_in_placement
    )
    if offered.spec is None or not is_placed:
        return True
    return _requested_class(alias) == offered.resource_class != ""


def _requested_class(alias: AliasEntry) -> str:
    if alias.resource_class:
        return resource_class.normal(alias.resource_class)
    if alias.vendor_id is None or alias.product_id is None:
        return "no class"
    return resource_class.of_ids(alias.vendor_id, alias.product_id)


def _why_class(
    alias: AliasEntry, left: Sequence[Offered], view: HostView
) -> _Mismatch:
    offered = sorted({o.resource_class for o in left} - {""})
    return _Mismatch(
        Status.FAIL,
        f"it asks Placement for {_requested_class(alias)}, and device_spec"
        f" offers {', '.join(offered) or 'no class'}",
        "use the same resource_class in both",
    )


def _fits_traits(alias: AliasEntry, offered: Offered, view: HostView) -> bool:
    return offered.spec is None or alias.required_traits <= offered.traits


def _why_traits(
    alias: AliasEntry, left: Sequence[Offered], view: HostView
) -> _Mismatch:
    missing = min(
        (alias.required_traits - o.traits for o in left if o.spec), key=len
    )
    return _Mismatch(
        Status.FAIL,
        f"no device_spec has the traits {', '.join(sorted(missing))}",
        "use the same traits in both, without spaces",
    )


def _fits_migration(
    alias: AliasEntry, offered: Offered, view: HostView
) -> bool:
    if alias.live_migratable is None or offered.spec is None:
        return True
    return offered.spec.live_migratable is alias.live_migratable


def _why_migration(
    alias: AliasEntry, left: Sequence[Offered], view: HostView
) -> _Mismatch:
    required = "yes" if alias.live_migratable else "no"
    return _Mismatch(
        Status.FAIL,
        f"no device_spec has live_migratable {required}",
        f'set "live_migratable": "{required}" there, or remove it here',
    )


# In the order in which they are tried.  Source: nova, pci/stats.py
# (PciDeviceStats) and compute/pci_placement_translator.py.
_STEPS = (
    _Step(_fits_ids, _why_ids),
    _Step(_fits_type, _why_type),
    _Step(_fits_class, _why_class),
    _Step(_fits_traits, _why_traits),
    _Step(_fits_migration, _why_migration),
)


def matches_nothing(view: HostView) -> Iterator[Finding]:
    """Find entries that no function of this host can ever satisfy.

    Every host has the same aliases.  Where another entry matches all the
    functions that this one nearly does, it may be meant for another host.
    """
    offered = _offered(view)
    tried = [
        (line, *_first_failing(line.entry, offered, view))
        for line in view.aliases
    ]
    matched = {
        function.device.address
        for _, left, failed in tried
        for function in left
        if failed is None
    }
    for line, left, failed in tried:
        if failed is None:
            continue
        status, text, remedy = failed.why(line.entry, left, view)
        is_matched = all(o.device.address in matched for o in left)
        if status is Status.FAIL and is_matched:
            status = Status.WARN
            remedy = (
                "keep it if another host has such functions: another alias"
                " matches the ones of this host"
            )
        says = (
            "never matches"
            if status is Status.FAIL
            else "matches nothing on this host"
        )
        detail = f"alias {line.entry.name!r} {says}: {text}"
        yield Finding(ALIAS_MATCHES, status, detail, remedy, line.place)


def matched(alias: AliasEntry, view: HostView) -> tuple[Device, ...]:
    """Return the listed functions that satisfy an alias, in their order."""
    return tuple(
        offered.device
        for offered in _listed(view)
        if all(step.fits(alias, offered, view) for step in _STEPS)
    )


def _listed(view: HostView) -> list[Offered]:
    return [Offered(e.device, e.spec) for e in view.assignable]


def _offered(view: HostView) -> list[Offered]:
    """Return what is listed; where no file lists anything, every endpoint."""
    if view.conf.device_spec:
        return _listed(view)
    return [
        Offered(d, None) for d in view.devices if d.role is not Role.BRIDGE
    ]


def _first_failing(
    alias: AliasEntry, offered: Sequence[Offered], view: HostView
) -> tuple[Sequence[Offered], _Step | None]:
    """Return the functions left, and the first step that none satisfies."""
    left = offered
    for step in _STEPS:
        fitting = [o for o in left if step.fits(alias, o, view)]
        if not fitting:
            return left, step
        left = fitting
    return left, None


RULES = (Rule(ALIAS_MATCHES, matches_nothing),)
