"""A configuration applied to a host, and what a rule about it is.

Which functions of the host the configuration lists, and by which entry.
Source: nova, pci/whitelist.py (device_assignable).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.formats.nova_release import Feature, Release
from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.function import (
    PhysicalFunction,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.group import Group, Member, Role
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.address_space import HostHardware
from gpu_passthrough_plugin.nova.lint import configuration
from gpu_passthrough_plugin.nova.lint.configuration import (
    Fault,
    NovaConf,
    Placed,
)

K = TypeVar("K")
_MAX_SHOWN = 8

# Source: os_traits 3.6.0; nova, compute/pci_placement_translator.py
# (_get_traits_for_dev, add_parent).
_MANAGED = "COMPUTE_MANAGED_PCI_DEVICE"
_MIGRATABLE = "HW_PCI_LIVE_MIGRATABLE"
_ONE_TIME_USE = "HW_PCI_ONE_TIME_USE"

Problem = tuple[str, tuple[object, ...]]
"""Where something is wrong, and what the rule's texts name."""


class Device(NamedTuple):
    """A function as nova-compute sees it, and the group that it is in.

    :param device_type: None when it is not known whether it does SR-IOV.
    :param physical: of a virtual function, the one that it belongs to.
    """

    address: Address
    vendor_id: int | Unknown
    product_id: int | Unknown
    device_type: DeviceType | None
    physical: Address | None
    role: Role
    group: Group


class Listed(NamedTuple):
    """An entry, and what it matches.

    :param matched: every function that it matches.
    :param taken: those that no entry before it matches.
    """

    line: Placed[DeviceSpec]
    matched: tuple[Device, ...]
    taken: tuple[Device, ...]

    @property
    def spec(self) -> DeviceSpec:
        return self.line.entry

    @property
    def place(self) -> str:
        return self.line.place


class Assignable(NamedTuple):
    """A function that Nova may hand out, and the entry that lists it."""

    device: Device
    line: Placed[DeviceSpec]

    @property
    def spec(self) -> DeviceSpec:
        return self.line.entry

    @property
    def place(self) -> str:
        return self.line.place

    @property
    def resource_class(self) -> str:
        """Return the class that Nova reports the function as; "" for none."""
        if self.spec.is_network:
            return ""
        if self.spec.resource_class:
            return resource_class.normal(self.spec.resource_class)
        vendor, product = self.device.vendor_id, self.device.product_id
        if isinstance(vendor, Unknown) or isinstance(product, Unknown):
            return ""
        return resource_class.of_ids(vendor, product)

    def traits(self, release: Release) -> frozenset[str]:
        """Return the traits that Nova reports, with those it adds itself."""
        added = {_MANAGED}
        if self.spec.live_migratable and release.knows(
            Feature.TRAIT_MIGRATABLE
        ):
            added.add(_MIGRATABLE)
        if self.spec.one_time_use:
            added.add(_ONE_TIME_USE)
        return self.spec.given_traits | added


class HostView(NamedTuple):
    """A configuration applied to a host: everything a rule may look at.

    :param listed: the ``device_spec`` entries in Nova's order.
    :param assignable: the endpoints that they list, by entry, then address.
    :param aliases: the ``alias`` entries in their order.
    :param spec_faults: of entries that cannot be read, as ``alias_faults``.
    :param hardware: None where it is not known.
    """

    conf: NovaConf
    release: Release
    devices: tuple[Device, ...]
    listed: tuple[Listed, ...]
    assignable: tuple[Assignable, ...]
    aliases: tuple[Placed[AliasEntry], ...]
    spec_faults: tuple[Fault, ...]
    alias_faults: tuple[Fault, ...]
    hardware: HostHardware | None

    @property
    def is_placed(self) -> bool:
        """Return whether aliases are requested from Placement."""
        return self.conf.pci_in_placement and self.release.has_placement

    @property
    def may_be_placed(self) -> bool:
        """Return whether the scheduler's files, not given, may decide that.

        nova-compute needs no option of the scheduler, and where nothing is
        reported to Placement nothing can be requested from it.
        """
        return (
            not self.conf.has_scheduler
            and self.conf.report_in_placement
            and self.release.has_placement
        )


class Condition(NamedTuple):
    """When a rule applies; a field that is None does not matter.

    :param knows: what the release has to know.
    :param lacks: what the release must not know.
    :param report_in_placement: whether ``[pci]`` turns it on.
    :param pci_in_placement: whether ``[filter_scheduler]`` turns it on.
    :param may_be_placed: whether the scheduler's files, not given, may.
    """

    knows: Feature | None = None
    lacks: Feature | None = None
    report_in_placement: bool | None = None
    pci_in_placement: bool | None = None
    may_be_placed: bool | None = None

    def holds(self, view: HostView) -> bool:
        """Return whether a configuration and its release fulfil it."""
        release = view.release
        if self.knows and not release.knows(self.knows):
            return False
        if self.lacks and release.knows(self.lacks):
            return False
        pairs = (
            (self.report_in_placement, view.conf.report_in_placement),
            (self.pci_in_placement, view.is_placed),
            (self.may_be_placed, view.may_be_placed),
        )
        return all(
            required is None or required is actual
            for required, actual in pairs
        )


ALWAYS = Condition()


class Rule(NamedTuple):
    """One reason to find fault with a configuration.

    :param check: the name that its findings are reported under.
    :param find: yields for each fault its place, and what the texts name.
    :param detail: what is wrong, with ``{0}`` for the first of these names;
        as the remedy.
    """

    check: str
    status: Status
    find: Callable[[HostView], Iterable[Problem]]
    detail: str
    remedy: str
    condition: Condition = ALWAYS

    def findings(self, view: HostView) -> Iterator[Finding]:
        """Yield what is wrong, if the rule applies to the configuration."""
        if self.condition.holds(view):
            for place, names in self.find(view):
                detail = self.detail.format(*names)
                remedy = self.remedy.format(*names)
                yield Finding(self.check, self.status, detail, remedy, place)


def apply(
    conf: NovaConf,
    groups: Sequence[Group],
    release: Release,
    hardware: HostHardware | None = None,
) -> HostView:
    """Return the configuration applied to a host with these groups.

    :raises Invalid: when it has more entries than any host has devices.
    """
    host = devices(groups)
    specs, spec_faults = configuration.device_specs(conf.device_spec, release)
    aliases, alias_faults = configuration.aliases(conf.alias)
    listed = whitelist(specs, host)
    assignable = tuple(
        Assignable(device, entry.line)
        for entry in listed
        for device in entry.taken
        if device.role.is_assigned
    )
    return HostView(
        conf, release, host, listed, assignable, aliases, spec_faults,
        alias_faults, hardware,
    )  # fmt: skip


def devices(groups: Iterable[Group]) -> tuple[Device, ...]:
    """Return every function of the host, bridges included, by address.

    libvirt lists bridges too, and Nova takes what libvirt lists.
    """
    unsorted = (_device(member, group) for group in groups
                for member in group.members)  # fmt: skip
    return tuple(sorted(unsorted, key=lambda device: device.address))


def whitelist(
    specs: Iterable[Placed[DeviceSpec]], devices: Sequence[Device]
) -> tuple[Listed, ...]:
    """Return each entry with its functions: the first that matches has it."""
    physical = {
        str(device.address)
        for device in devices
        if device.device_type is DeviceType.PF
    }
    seen: set[Address] = set()
    listed = []
    for line in specs:
        matched = tuple(
            device
            for device in devices
            if line.entry.matches(
                device.address,
                device.vendor_id,
                device.product_id,
                device.physical,
                physical.__contains__,
            )
        )
        taken = tuple(d for d in matched if d.address not in seen)
        seen.update(d.address for d in taken)
        listed.append(Listed(line, matched, taken))
    return tuple(listed)


def _device(member: Member, group: Group) -> Device:
    sriov = member.detail.sriov if member.detail else None
    return Device(
        address=member.address,
        vendor_id=member.function.vendor_id,
        product_id=member.function.product_id,
        device_type=_device_type(member),
        physical=sriov.physical
        if isinstance(sriov, VirtualFunction)
        else None,
        role=member.role,
        group=group,
    )


def _device_type(member: Member) -> DeviceType | None:
    """Source: nova, virt/libvirt/host.py (_get_device_type)."""
    if member.detail is None or isinstance(member.detail.sriov, Unknown):
        return None
    sriov = member.detail.sriov
    if isinstance(sriov, VirtualFunction):
        return DeviceType.VF
    if isinstance(sriov, PhysicalFunction) and sriov.total_vfs:
        return DeviceType.PF
    return DeviceType.PCI


def grouped_by(
    entries: Iterable[Assignable], key: Callable[[Assignable], K]
) -> Mapping[K, list[Assignable]]:
    """Return the functions of each value of a key, in their order."""
    grouped: dict[K, list[Assignable]] = {}
    for entry in entries:
        grouped.setdefault(key(entry), []).append(entry)
    return grouped


def places(entries: Sequence[Assignable]) -> str:
    """Return where functions are listed, as text for a finding."""
    return shortened([*dict.fromkeys(entry.place for entry in entries)])


def addresses(entries: Sequence[Assignable]) -> str:
    """Return the functions' addresses as text for a finding."""
    return shortened([str(entry.device.address) for entry in entries])


def shortened(names: Sequence[str]) -> str:
    """Return the names, or the first of them and the number of the rest."""
    rest = len(names) - _MAX_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(names[:_MAX_SHOWN]) + more
