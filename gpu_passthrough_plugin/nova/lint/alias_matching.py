"""Why no function of a host can satisfy an alias.

Source: nova, pci/stats.py (PciDeviceStats) and
compute/pci_placement_translator.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import device_ids
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint.configuration import Placed
from gpu_passthrough_plugin.nova.lint.host_view import (
    Assignable,
    Condition,
    Device,
    HostView,
    Problem,
    Rule,
)

ALIAS_MATCHES = "alias matches"

FAIL, WARN = Status.FAIL, Status.WARN

# Of every provider that Nova reports.
_OWNER = "OWNER_NOVA"
# Source: nova, pci/stats.py (pool_keys, _create_pool_keys_from_dev) and
# objects/fields.py (PciDeviceType).
_TYPE_TAG, _CAPABILITY_TAG = "dev_type", "capability_type"
_VDPA = "vdpa"


class _Offered(NamedTuple):
    """A function that an alias may match, and the entry that lists it.

    :param entry: None where no file lists anything.
    :param traits: as Nova reports them.
    """

    device: Device
    entry: Assignable | None
    traits: frozenset[str] = frozenset()

    @property
    def tags(self) -> Mapping[str, object]:
        return {} if self.entry is None else self.entry.spec.tags

    @property
    def device_type(self) -> str | None:
        """Return what Nova takes for its type; None if that is not known.

        A tag of the entry replaces what the device says.
        Source: nova, pci/stats.py (_create_pool_keys_from_dev).
        """
        if _TYPE_TAG in self.tags:
            return str(self.tags[_TYPE_TAG])
        return self.device.device_type


class _Step(NamedTuple):
    """One property that a function needs for an alias to match it.

    :param names: what the texts name where no function that is left fits.
    """

    fits: Callable[[AliasEntry, _Offered], bool]
    names: Callable[[AliasEntry, Sequence[_Offered]], tuple[str, ...]]
    text: str
    remedy: str


def _fits_ids(alias: AliasEntry, device: Device) -> bool:
    vendor, product = device.vendor_id, device.product_id
    is_vendor = alias.vendor_id in (None, vendor)
    return is_vendor and alias.product_id in (None, product)


def _fits_type(alias: AliasEntry, offered: _Offered) -> bool:
    """Return whether the type fits; a type-PF needs an alias that sets it.

    Source: nova, pci/stats.py (_filter_pools_for_unrequested_pfs,
    _filter_pools_for_unrequested_vdpa_devices).
    """
    device_type = offered.device_type
    if device_type is None:
        return True
    if alias.device_type is None:
        return device_type not in (DeviceType.PF, _VDPA)
    return device_type.lower() == alias.device_type.lower()


def _types(alias: AliasEntry, left: Sequence[_Offered]) -> tuple[str, ...]:
    types = sorted({o.device_type for o in left if o.device_type})
    own = alias.device_type
    tagged = any(_TYPE_TAG in o.tags for o in left)
    return (
        f"asks for {own}" if own else "has no device_type",
        str(left[0].device.address),
        " or ".join(types) + (" by the tag dev_type" if tagged else ""),
        "remove dev_type from its device_spec"
        if tagged
        else f'set "device_type": "{types[0]}"',
    )


def _fits_management(alias: AliasEntry, offered: _Offered) -> bool:
    return offered.entry is None or not offered.entry.spec.is_remote_managed


def _fits_capability(alias: AliasEntry, offered: _Offered) -> bool:
    """Source: nova, pci/utils.py (pci_device_prop_match)."""
    tag = str(offered.tags.get(_CAPABILITY_TAG)).lower()
    return alias.capability_type in (None, tag)


def _fits_migration(alias: AliasEntry, offered: _Offered) -> bool:
    if alias.live_migratable is None or offered.entry is None:
        return True
    return offered.entry.spec.live_migratable is alias.live_migratable


def _migration(alias: AliasEntry, left: Sequence[_Offered]) -> tuple[str, ...]:
    return ("yes" if alias.live_migratable else "no",)


def _fits_class(alias: AliasEntry, offered: _Offered) -> bool:
    if offered.entry is None:
        return True
    return _requested_class(alias) == offered.entry.resource_class != ""


def _requested_class(alias: AliasEntry) -> str:
    if alias.resource_class:
        return resource_class.normal(alias.resource_class)
    if alias.vendor_id is None or alias.product_id is None:
        return "no class"
    return resource_class.of_ids(alias.vendor_id, alias.product_id)


def _classes(alias: AliasEntry, left: Sequence[_Offered]) -> tuple[str, ...]:
    offered = sorted({o.entry.resource_class for o in left if o.entry} - {""})
    return _requested_class(alias), ", ".join(offered) or "no class"


def _fits_traits(alias: AliasEntry, offered: _Offered) -> bool:
    return offered.entry is None or alias.required_traits <= offered.traits


def _missing(alias: AliasEntry, left: Sequence[_Offered]) -> tuple[str, ...]:
    missing = [
        sorted(alias.required_traits - o.traits) for o in left if o.entry
    ]
    fewest = min(missing, key=len)
    return (", ".join(fewest),)


def _no_names(alias: AliasEntry, left: Sequence[_Offered]) -> tuple[str, ...]:
    return ()


# In the order in which they are tried, after the ids: what Nova looks at in
# its pools, and what it asks Placement for where that is turned on.
_POOL_STEPS = (
    _Step(_fits_type, _types, "it {0}, and {1} is {2}", "{3}"),
    _Step(_fits_management, _no_names,
          "device_spec sets remote_managed, and only Neutron's ports get such"
          " functions", "remove remote_managed there, or the alias"),
    _Step(_fits_capability, _no_names,
          "no device_spec of its functions has the tag capability_type",
          "remove capability_type from the alias"),
    _Step(_fits_migration, _migration,
          "no device_spec has live_migratable {0}",
          'set "live_migratable": "{0}" there, or remove it here'),
)  # fmt: skip
_PLACEMENT_STEPS = (
    _Step(_fits_class, _classes,
          "it asks Placement for {0}, and device_spec offers {1}",
          "use the same resource_class in both"),
    _Step(_fits_traits, _missing, "no device_spec has the traits {0}",
          "use the same traits in both, without spaces"),
)  # fmt: skip


def _steps(view: HostView) -> tuple[_Step, ...]:
    return _POOL_STEPS + (_PLACEMENT_STEPS if view.is_placed else ())


def matched(alias: AliasEntry, view: HostView) -> tuple[Device, ...]:
    """Return the listed functions that satisfy an alias, in their order."""
    return tuple(
        offered.device
        for offered in _listed(view)
        if _fits_ids(alias, offered.device)
        and all(step.fits(alias, offered) for step in _steps(view))
    )


def _is_hopeless(alias: AliasEntry, view: HostView) -> bool:
    """Return whether it has a capability_type, and no tag says the same."""
    return alias.capability_type is not None and not any(
        _fits_capability(alias, offered) for offered in _listed(view)
    )


def _hopeless(view: HostView) -> Iterator[Problem]:
    for line in view.aliases:
        if _is_hopeless(line.entry, view):
            yield line.place, (line.entry.name,)


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
    tried = _tried(view, _steps(view))
    matched = {
        o.device.address for _, left, step in tried for o in left if not step
    }
    for line, left, step in tried:
        addresses = {o.device.address for o in left}
        if step and left and (addresses <= matched) is is_elsewhere:
            yield line.place, _texts(line.entry, left, step)


def _failing_if_placed(view: HostView) -> Iterator[Problem]:
    """Yield entries that only Placement would find nothing for."""
    for line, left, step in _tried(view, _POOL_STEPS + _PLACEMENT_STEPS):
        if step in _PLACEMENT_STEPS:
            yield line.place, _texts(line.entry, left, step)


def _tried(
    view: HostView, steps: Sequence[_Step]
) -> list[tuple[Placed[AliasEntry], Sequence[_Offered], _Step | None]]:
    """Return the functions left and the first failing step of each alias."""
    if view.spec_faults:
        # An entry that cannot be read may list more.
        return []
    offered = _offered(view)
    return [
        (line, *_first_failing(line.entry, offered, steps))
        for line in view.aliases
        if not _is_hopeless(line.entry, view)
    ]


def _texts(
    alias: AliasEntry, left: Sequence[_Offered], step: _Step
) -> tuple[object, ...]:
    names = step.names(alias, left)
    text, remedy = (t.format(*names) for t in (step.text, step.remedy))
    return alias.name, text, remedy


def _first_failing(
    alias: AliasEntry, offered: Sequence[_Offered], steps: Sequence[_Step]
) -> tuple[Sequence[_Offered], _Step | None]:
    """Return the functions left, and the first step that none of them fits."""
    left = [o for o in offered if _fits_ids(alias, o.device)]
    for step in steps:
        fitting = [o for o in left if step.fits(alias, o)]
        if not fitting:
            return left, step
        left = fitting
    return left, None


def _ids(alias: AliasEntry) -> str:
    return device_ids.pair(alias.vendor_id, alias.product_id)


def _listed(view: HostView) -> list[_Offered]:
    owner = {_OWNER} if view.release.knows(Feature.TRAIT_OWNER) else set()
    return [
        _Offered(entry.device, entry, entry.traits(view.release) | owner)
        for entry in view.assignable
    ]


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
    Rule(ALIAS_MATCHES, FAIL, _hopeless,
         "alias {0!r} never matches: no function has a capability_type",
         "remove capability_type"),
    Rule(ALIAS_MATCHES, FAIL, functools.partial(_failing, is_elsewhere=False),
         "alias {0!r} never matches: {1}", "{2}"),
    Rule(ALIAS_MATCHES, WARN, functools.partial(_failing, is_elsewhere=True),
         "alias {0!r} matches nothing on this host: {1}",
         "keep it if another host has such functions: another alias matches"
         " the ones of this host"),
    Rule(ALIAS_MATCHES, WARN, _failing_if_placed,
         "alias {0!r} matches nothing once pci_in_placement is on: {1}",
         "{2}", Condition(may_be_placed=True)),
)  # fmt: skip
