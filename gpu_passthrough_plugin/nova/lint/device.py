"""A host's functions as Nova's compute service sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Physical, Virtual
from gpu_passthrough_plugin.model.group import Group, Member, Role
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import DeviceType


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
