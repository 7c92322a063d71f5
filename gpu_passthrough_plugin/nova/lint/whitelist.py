"""A configuration held against a host: which entry lists which function.

Source: nova, pci/whitelist.py (device_assignable) and pci/devspec.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import nova_alias, nova_device_spec
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.formats.nova_entry import Fault
from gpu_passthrough_plugin.formats.nova_pci_address import ANY
from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Physical, Virtual
from gpu_passthrough_plugin.model.group import Group, Member, Role
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint.configuration import Options


class Device(NamedTuple):
    """A function, and the group that it is in.

    :param ids: vendor and product as Nova writes them; empty: not known.
    :param kind: None when it is not known whether it does SR-IOV.
    :param physical: of a virtual function, the one that it belongs to.
    """

    address: Address
    ids: tuple[str, str]
    kind: DeviceType | None
    physical: Address | None
    role: Role
    group: Group


def devices(groups: Iterable[Group]) -> tuple[Device, ...]:
    """Every function of the host, bridges included, by address.

    libvirt lists bridges too, and Nova takes what libvirt lists.
    """
    found = (_device(member, group) for group in groups
             for member in group.members)  # fmt: skip
    return tuple(sorted(found, key=lambda device: device.address))


def _device(member: Member, group: Group) -> Device:
    sriov = member.detail.sriov if member.detail else None
    physical = sriov.physical if isinstance(sriov, Virtual) else None
    function = member.function
    return Device(
        address=member.address,
        ids=(_shown(function.vendor_id), _shown(function.product_id)),
        kind=_kind(member),
        physical=physical,
        role=member.role,
        group=group,
    )


def _kind(member: Member) -> DeviceType | None:
    """Source: nova, virt/libvirt/host.py (_get_device_type)."""
    if member.detail is None or isinstance(member.detail.sriov, Unknown):
        return None
    sriov = member.detail.sriov
    if isinstance(sriov, Virtual):
        return DeviceType.VF
    if isinstance(sriov, Physical) and sriov.total_vfs:
        return DeviceType.PF
    return DeviceType.PCI


def _shown(number: int | Unknown) -> str:
    return "" if isinstance(number, Unknown) else f"{number:04x}"


class Listed(NamedTuple):
    """An entry, and what it matches.

    :param matched: every function that fits it.
    :param taken: those that no entry before it fits.
    """

    spec: DeviceSpec
    matched: tuple[Device, ...]
    taken: tuple[Device, ...]


def listing(
    specs: Sequence[DeviceSpec], devices: Sequence[Device]
) -> tuple[Listed, ...]:
    """Each entry with its functions: the first that fits one has it."""
    seen: set[Address] = set()
    found = []
    for spec in specs:
        matched = _matched(spec, devices)
        taken = tuple(d for d in matched if d.address not in seen)
        seen.update(d.address for d in taken)
        found.append(Listed(spec, matched, taken))
    return tuple(found)


def _matched(
    spec: DeviceSpec, devices: Sequence[Device]
) -> tuple[Device, ...]:
    if spec.devname:
        return ()
    named = spec.pattern.single
    is_physical = bool(named) and any(
        d.kind is DeviceType.PF and str(d.address) == named for d in devices
    )
    return tuple(d for d in devices if _matches(spec, d, is_physical))


def _matches(spec: DeviceSpec, device: Device, is_physical: bool) -> bool:
    """A physical function's address matches its virtual functions too."""
    vendor, product = device.ids
    if spec.vendor_id not in (ANY, vendor):
        return False
    if spec.product_id not in (ANY, product):
        return False
    if spec.pattern.matches(device.address):
        return True
    parent = device.physical
    return is_physical and parent is not None and spec.pattern.matches(parent)


class Pair(NamedTuple):
    """A function that Nova may hand out, and the entry that says so."""

    device: Device
    spec: DeviceSpec


class Case(NamedTuple):
    """Everything that a rule may look at.

    :param listed: the ``device_spec`` entries in Nova's order.
    :param pairs: the endpoints that they list, by entry, then address.
    :param aliases: the ``alias`` entries in their order.
    """

    options: Options
    release: Release
    devices: tuple[Device, ...]
    listed: tuple[Listed, ...]
    pairs: tuple[Pair, ...]
    aliases: tuple[AliasEntry, ...]
    spec_faults: tuple[Fault, ...]
    alias_faults: tuple[Fault, ...]


def case(options: Options, groups: Sequence[Group], release: Release) -> Case:
    """The configuration, and what of the host it lists.

    :raises Invalid: when it has more entries than any host has devices.
    """
    host = devices(groups)
    specs, spec_faults = nova_device_spec.parse(options.device_spec)
    aliases, alias_faults = nova_alias.parse(options.alias)
    listed = listing(specs, host)
    pairs = tuple(
        Pair(device, found.spec)
        for found in listed
        for device in found.taken
        if device.role is not Role.BRIDGE
    )
    return Case(
        options, release, host, listed, pairs, aliases, spec_faults,
        alias_faults,
    )  # fmt: skip
