"""Whether a guest may start, and which units are claimed for it.

A guest takes whole units: every endpoint, or each primary alone while its
companions are reserved.  Functions of groups that are not units (a NIC's
VFs) are ignored unless selected or excluded; their group must still be
viable.  A group that the host needs goes to no guest, whatever the ledger
has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from gpu_passthrough_plugin.compute.hook.unit_states import (
    Decision,
    Guest,
    LedgerView,
    unit_states,
)
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import (
    PCI_STUB,
    Function,
    Header,
)
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.hook import HookMode
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import UnitKey, UnitRecord

_NOTHING: Mapping[Address, str] = MappingProxyType({})
_BIND = "set managed='yes', or bind it to a VFIO driver"
_ENABLE = (
    "bind it to vfio-pci ('gpu-passthrough host enable') or set managed='yes'"
)
_SYNC = "run 'gpu-passthrough inventory sync'"


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What is the same for every guest.

    :param is_excluded: whether ``[discovery] exclude`` names a function.
    :param libvirt_keeps: whether libvirt leaves a managed function on a VFIO
        driver.
    """

    mode: HookMode
    is_excluded: Callable[[Function], bool]
    libvirt_keeps: Callable[[str], bool]


def decide(
    guest: Guest,
    groups: Mapping[int, Sequence[Member]],
    ledger: LedgerView,
    rules: Rules,
    unspared: Mapping[Address, str] = _NOTHING,
) -> Decision:
    """Return what gives the guest its units, or why it may not start.

    :param groups: all members, with details, of each group that the guest
        takes a function of, by the group's number.
    :param unspared: why the host cannot spare functions, by their address;
        not asked for a running guest, which has what it takes.
    """
    refusals: list[str] = []
    touched: dict[UnitKey, UnitRecord] = {}
    for number, members in groups.items():
        group = _Group(number, members, guest, rules)
        record, faults = group.unit(ledger.records)
        if record is not None:
            touched[record.unit.key] = record
        # Whatever else is wrong: a remedy for that could cost the host.
        kept = () if guest.is_running else tuple(group.kept(unspared))
        unread = kept or tuple(group.unread())
        refusals += unread
        if unread or guest.is_running:
            continue
        if record is not None and not faults:
            faults = tuple(group.shape(record))
        refusals += faults or group.viability(is_unit=record is not None)
    units = unit_states(guest, ledger, touched)
    refusals = [*units.refusals, *refusals]
    if refusals:
        return Decision(refusals=tuple(refusals))
    if units.waits_for:
        return dataclasses.replace(units, takes=(), moves=())
    return units


@dataclasses.dataclass(frozen=True, slots=True)
class _Group:
    """A group that the guest takes functions of, and its faults."""

    number: int
    members: Sequence[Member]
    guest: Guest
    rules: Rules

    @property
    def endpoints(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m.role.is_assigned)

    def kept(self, unspared: Mapping[Address, str]) -> Iterator[str]:
        """Yield a fault for each function that the host cannot spare."""
        taken = self.guest.functions.keys() & {m.address for m in self.members}
        for member in self.members:
            if member.address in unspared:
                yield (
                    f"{unspared[member.address]}; IOMMU group {self.number}"
                    f" stays with the host: remove {_listed(taken)} from the"
                    " domain's XML"
                )

    def unread(self) -> Iterator[str]:
        """Yield each fact that the decision needs and that is unknown."""
        for member in self.members:
            function, detail = member.function, member.detail
            facts = {
                "the vendor": function.vendor_id,
                "the product": function.product_id,
                "the class": function.class_code,
                "the driver": function.driver,
                "the config space": detail.header if detail else None,
                "the kind of driver": _is_reserved(member),
            }
            for name, value in facts.items():
                if isinstance(value, Unknown):
                    yield (
                        f"{name} of {member.address} is unknown: {value}; see"
                        " 'gpu-passthrough device list'"
                    )
                    break

    def unit(
        self, records: Sequence[UnitRecord]
    ) -> tuple[UnitRecord | None, tuple[str, ...]]:
        """Return the group's unit, if any, and the faults of both."""
        present = {
            m.address: (m.function.vendor_id, m.function.product_id)
            for m in self.endpoints
        }
        owners = [
            record
            for record in records
            if not present.keys().isdisjoint(_published(record))
        ]
        faults = [*self._never()]
        if not owners:
            return None, tuple(faults or self._unpublished())
        record, *others = owners
        if others or _published(record) != present:
            faults.append(
                f"unit {record.unit.key} changed since it was published:"
                f" IOMMU group {self.number} has {_listed(present)}; {_SYNC}"
            )
        faults += [
            f"{m.address} does not respond (it reads all ones); power-cycle"
            " the host"
            for m in self.endpoints
            if m.detail is not None and m.detail.header is Header.DEAD
        ]
        return record, tuple(faults)

    def _never(self) -> Iterator[str]:
        """Yield a fault for each function that no guest may have."""
        for member in self.members:
            is_taken = member.address in self.guest.functions
            if member.role is Role.BRIDGE and is_taken:
                yield (
                    f"{member.address} is a bridge and cannot be passed"
                    " through; remove its <hostdev>"
                )
            if self.rules.is_excluded(member.function):
                yield (
                    f"{member.address} of IOMMU group {self.number} is"
                    " excluded from every guest by [discovery] exclude"
                )

    def _unpublished(self) -> Iterator[str]:
        """Yield a fault if a selected group is not a unit."""
        selected = [m.address for m in self.members if m.role is Role.PRIMARY]
        if selected:
            yield (
                f"{_listed(selected)} of IOMMU group {self.number} is"
                " selected and in no unit of the"
                f" ledger; if 'gpu-passthrough group list' shows the group as"
                f" assignable, {_SYNC}"
            )

    def shape(self, record: UnitRecord) -> Iterator[str]:
        """Yield a fault if the guest takes the wrong functions of a unit."""
        mode = self.rules.mode
        if self.guest.is_in_journal or self.guest.takes_groups:
            mode = HookMode.ANY
        every = {f.address for f in record.unit.functions}
        primaries = {f.address for f in record.unit.primaries}
        taken = every & self.guest.functions.keys()
        missing = every - taken
        if mode is not HookMode.PRIMARY and not missing:
            return
        loose = [
            f"{m.address} is on {m.function.driver}"
            for m in self.endpoints
            if m.address in every - primaries and not _is_reserved(m)
        ]
        if mode is not HookMode.FULL and taken == primaries and not loose:
            return
        message = (
            f"the guest takes {_listed(taken)} of IOMMU group {self.number}"
        )
        if missing:
            message += f" without {_listed(missing)}"
        if taken == primaries and loose:
            message += f", while {', '.join(loose)}"
        yield f"{message}; {_expected(every, primaries, mode)}"

    def viability(self, *, is_unit: bool) -> Iterator[str]:
        """Yield a fault for each function that makes the group not viable.

        Also for one that libvirt would take off its VFIO driver.

        Source: kernel, drivers/vfio and drivers/iommu: every endpoint of a
        group has to be on a vfio driver, on pci-stub, or on none.

        :param is_unit: whether 'host enable' may bind the group.
        """
        for member in self.endpoints:
            address, driver = member.address, member.function.driver
            if self.guest.functions.get(address):
                yield from self._lost_driver(member)
            elif address not in self.guest.functions:
                if not _is_reserved(member):
                    yield (
                        f"IOMMU group {self.number} is not viable: {address}"
                        f" is on {driver}; pass it through as well"
                        " (managed='yes'), or unbind it from that driver"
                    )
            elif member.is_on_vfio is False:
                yield _unmanaged(member, is_unit=is_unit)

    def _lost_driver(self, member: Member) -> Iterator[str]:
        driver = member.function.driver
        if (
            member.is_on_vfio is True
            and isinstance(driver, str)
            and not self.rules.libvirt_keeps(driver)
        ):
            yield (
                f"{member.address} is on {driver}, a VFIO driver that"
                " managed='yes' would take it off; set managed='no' (with"
                ' Nova, "managed": "no" in its [pci] device_spec)'
            )


def _unmanaged(member: Member, *, is_unit: bool) -> str:
    """Return why a function that libvirt does not bind cannot be taken.

    Source: NVIDIA, Virtual GPU Software User Guide (vendor-specific VFIO):
    a virtual function gets its VFIO device with the type of its vGPU.
    """
    address, driver = member.address, member.function.driver
    if driver and member.detail and member.detail.vgpu_type is not None:
        return (
            f"{address} is on {driver} and carries no vGPU that a guest can"
            " take (it has no vfio-dev); leave it on that driver, and set its"
            " type in nvidia/current_vgpu_type"
        )
    return (
        f"{address} is on {driver or 'no driver'} and its device is not"
        " managed; " + (_ENABLE if is_unit else _BIND)
    )


def _expected(
    every: set[Address], primaries: set[Address], mode: HookMode
) -> str:
    companions = every - primaries
    whole = f"a <hostdev> for each of {_listed(every)}"
    bare = f"{_listed(primaries)} alone"
    if companions:
        bare += f" with {_listed(companions)} on vfio-pci"
    if mode is HookMode.FULL or (mode is HookMode.ANY and not companions):
        return f"expected {whole}"
    if mode is HookMode.PRIMARY:
        return f"expected {bare} ([hook] mode = primary)"
    return f"expected {whole}, or {bare}"


def _is_reserved(member: Member) -> bool | Unknown:
    """Return whether no driver of the host uses a function."""
    if (
        member.function.driver in (None, PCI_STUB)
        or not member.role.is_assigned
    ):
        return True
    return member.is_on_vfio


def _published(record: UnitRecord) -> dict[Address, tuple[int, int]]:
    """Return the ids of each endpoint of a unit."""
    return {
        f.address: (f.vendor_id, f.product_id) for f in record.unit.functions
    }


def _listed(addresses: Iterable[Address]) -> str:
    return ", ".join(map(str, sorted(addresses)))
