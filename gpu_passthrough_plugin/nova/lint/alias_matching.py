"""Why no function of a host can satisfy an alias.

Source: nova, pci/stats.py (PciDeviceStats) and
compute/pci_placement_translator.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import device_ids
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint.host_view import (
    Device,
    HostView,
    Problem,
    Rule,
)

ALIAS_MATCHES = "alias matches"

FAIL, WARN = Status.FAIL, Status.WARN

# Source: os_traits 3.6.0; nova, compute/pci_placement_translator.py
# (_get_traits_for_dev, add_parent).
_MANAGED = "COMPUTE_MANAGED_PCI_DEVICE"
_MIGRATABLE = "HW_PCI_LIVE_MIGRATABLE"
_ONE_TIME_USE = "HW_PCI_ONE_TIME_USE"


class _Offered(NamedTuple):
    """A function that an alias may match, and the entry that lists it.

    :param spec: None where no file lists anything.
    """

    device: Device
    spec: DeviceSpec | None

    @property
    def resource_class(self) -> str:
        """Return the class that Nova reports the function as; "" for none."""
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
        """Return the traits that Nova reports, with those it adds itself."""
        if self.spec is None:
            return frozenset()
        added = {_MANAGED}
        if self.spec.live_migratable:
            added.add(_MIGRATABLE)
        if self.spec.one_time_use:
            added.add(_ONE_TIME_USE)
        return self.spec.given_traits | added


class _Step(NamedTuple):
    """One property that a function needs for an alias to match it.

    :param names: what the texts name where no function that is left fits.
    """

    fits: Callable[[AliasEntry, _Offered, HostView], bool]
    names: Callable[[AliasEntry, Sequence[_Offered]], tuple[str, ...]]
    text: str
    remedy: str


def _fits_ids(alias: AliasEntry, device: Device) -> bool:
    vendor, product = device.vendor_id, device.product_id
    is_vendor = alias.vendor_id in (None, vendor)
    return is_vendor and alias.product_id in (None, product)


def _fits_type(alias: AliasEntry, offered: _Offered, view: HostView) -> bool:
    """Return whether the type fits; a type-PF needs an alias that sets it."""
    device_type = offered.device.device_type
    if device_type is None:
        return True
    if alias.device_type is None:
        return device_type is not DeviceType.PF
    return device_type is alias.device_type


def _types(alias: AliasEntry, left: Sequence[_Offered]) -> tuple[str, ...]:
    types = sorted(
        {o.device.device_type for o in left if o.device.device_type}
    )
    own = alias.device_type
    return (
        f"asks for {own}" if own else "has no device_type",
        str(left[0].device.address),
        " or ".join(types),
        types[0],
    )


def _fits_class(alias: AliasEntry, offered: _Offered, view: HostView) -> bool:
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


def _classes(alias: AliasEntry, left: Sequence[_Offered]) -> tuple[str, ...]:
    offered = sorted({o.resource_class for o in left} - {""})
    return _requested_class(alias), ", ".join(offered) or "no class"


def _fits_traits(alias: AliasEntry, offered: _Offered, view: HostView) -> bool:
    return offered.spec is None or alias.required_traits <= offered.traits


def _missing(alias: AliasEntry, left: Sequence[_Offered]) -> tuple[str, ...]:
    missing = [
        sorted(alias.required_traits - o.traits) for o in left if o.spec
    ]
    fewest = min(missing, key=len)
    return (", ".join(fewest),)


def _fits_migration(
    alias: AliasEntry, offered: _Offered, view: HostView
) -> bool:
    if alias.live_migratable is None or offered.spec is None:
        return True
    return offered.spec.live_migratable is alias.live_migratable


def _migration(alias: AliasEntry, left: Sequence[_Offered]) -> tuple[str, ...]:
    return ("yes" if alias.live_migratable else "no",)


# In the order in which they are tried, after the ids.
_STEPS = (
    _Step(_fits_type, _types, "it {0}, and {1} is {2}",
          'set "device_type": "{3}"'),
    _Step(_fits_class, _classes,
          "it asks Placement for {0}, and device_spec offers {1}",
          "use the same resource_class in both"),
    _Step(_fits_traits, _missing, "no device_spec has the traits {0}",
          "use the same traits in both, without spaces"),
    _Step(_fits_migration, _migration,
          "no device_spec has live_migratable {0}",
          'set "live_migratable": "{0}" there, or remove it here'),
)  # fmt: skip


def matched(alias: AliasEntry, view: HostView) -> tuple[Device, ...]:
    """Return the listed functions that satisfy an alias, in their order."""
    return tuple(
        offered.device
        for offered in _listed(view)
        if _fits_ids(alias, offered.device)
        and all(step.fits(alias, offered, view) for step in _STEPS)
    )


def _not_here(view: HostView) -> Iterator[Problem]:
    for line in view.aliases:
        if not any(_fits_ids(line.entry, device) for device in view.devices):
            yield line.place, (line.entry.name, _ids(line.entry))


def _not_listed(view: HostView) -> Iterator[Problem]:
    if view.spec_faults:
        # One that cannot be read may list it.
        return
    offered = _offered(view)
    for line in view.aliases:
        if any(_fits_ids(line.entry, o.device) for o in offered):
            continue
        if any(_fits_ids(line.entry, device) for device in view.devices):
            yield line.place, (line.entry.name, _ids(line.entry))


def _failing(view: HostView, *, is_elsewhere: bool) -> Iterator[Problem]:
    """Yield entries that a step fails for.

    Every host has the same aliases: where other entries match all the
    functions that one nearly does, it may be meant for another host.

    :param is_elsewhere: whether to yield those, or the others.
    """
    if view.spec_faults:
        return
    offered = _offered(view)
    tried = [
        (a, *_first_failing(a.entry, offered, view)) for a in view.aliases
    ]
    matched = {
        o.device.address for _, left, step in tried for o in left if not step
    }
    for line, left, step in tried:
        addresses = {o.device.address for o in left}
        if step and left and (addresses <= matched) is is_elsewhere:
            names = step.names(line.entry, left)
            text, remedy = (t.format(*names) for t in (step.text, step.remedy))
            yield line.place, (line.entry.name, text, remedy)


def _first_failing(
    alias: AliasEntry, offered: Sequence[_Offered], view: HostView
) -> tuple[Sequence[_Offered], _Step | None]:
    """Return the functions left, and the first step that none of them fits."""
    left = [o for o in offered if _fits_ids(alias, o.device)]
    for step in _STEPS:
        fitting = [o for o in left if step.fits(alias, o, view)]
        if not fitting:
            return left, step
        left = fitting
    return left, None


def _ids(alias: AliasEntry) -> str:
    return device_ids.pair(alias.vendor_id, alias.product_id)


def _listed(view: HostView) -> list[_Offered]:
    return [_Offered(e.device, e.spec) for e in view.assignable]


def _offered(view: HostView) -> list[_Offered]:
    """Return what is listed; where no file lists anything, every endpoint."""
    if view.conf.device_spec:
        return _listed(view)
    return [_Offered(d, None) for d in view.devices if d.role.is_assigned]


RULES = (
    Rule(ALIAS_MATCHES, WARN, _not_here,
         "alias {0!r} matches nothing on this host: no function of this host"
         " is {1}",
         "compare it with 'gpu-passthrough device list'; the alias may be for"
         " another host"),
    Rule(ALIAS_MATCHES, WARN, _not_listed,
         "alias {0!r} matches nothing on this host: no device_spec lists {1},"
         " which this host has",
         "list it in device_spec, or remove the alias"),
    Rule(ALIAS_MATCHES, FAIL, functools.partial(_failing, is_elsewhere=False),
         "alias {0!r} never matches: {1}", "{2}"),
    Rule(ALIAS_MATCHES, WARN, functools.partial(_failing, is_elsewhere=True),
         "alias {0!r} matches nothing on this host: {1}",
         "keep it if another host has such functions: another alias matches"
         " the ones of this host"),
)  # fmt: skip
