"""What a diagnosis looks at, read from a host or from a report of one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.advice import Confidence as Confidence
from gpu_passthrough_plugin.model.change_history import Enablement, Target
from gpu_passthrough_plugin.model.function import VFIO_PCI, Detail, Function
from gpu_passthrough_plugin.model.group import (
    NO_IOMMU,
    NO_PRIMARY,
    VFIO_NO_IOMMU,
    Group,
    Member,
    Reason,
)
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.installation import Installation, Kernel
from gpu_passthrough_plugin.model.reading import MISSING, Unknown


class Cause(NamedTuple):
    """One reason why a function is not ready for a guest.

    :param name: stable, such as ``ids-stale``; also the guide's anchor.
    :param text: what is wrong, in one line.
    :param evidence: the line or value that shows it, verbatim.
    :param fix: what to do, with the exact command where there is one.
    """

    name: str
    confidence: Confidence
    text: str
    evidence: str
    fix: str

    def __str__(self) -> str:
        """Return the text and the name of its section in the guide."""
        return f"{self.text} (see causes: {self.name})"


class Evidence(NamedTuple):
    """One host's state: devices, boot configuration and kernel log.

    :param members: every function of the host with its details, ordered
        by address.
    :param groups: the kernel's groups; their number is None without an
        IOMMU.
    :param installation: the files that decide how the host boots.
    :param log: lines of the kernel's log of this boot, oldest first,
        without timestamps.
    :param configured: kernel arguments in the boot loader's source files,
        by path.
    :param entries: kernel arguments in the entries that the boot loader
        reads, by path, or by path and line as in ``grub.cfg:112``.
    :param images: names in each kernel's initramfs, by kernel release.
    :param enablement: what ``host enable`` last set up; None where it was
        never run or was reverted.
    :param boot_id: of the running boot.
    :param has_vfio: whether the running kernel has vfio-pci, as a module or
        built in.
    :param vfio_drivers: names of the kernel's other VFIO drivers that were
        found, with ``_`` for ``-``.
    :param reasons: why the group that a function is in now cannot be
        assigned; none where nothing is against it.
    """

    facts: HostFacts
    members: tuple[Member, ...]
    groups: tuple[Group, ...]
    installation: Installation
    log: tuple[str, ...] | Unknown
    configured: Mapping[str, tuple[str, ...]]
    entries: Mapping[str, tuple[str, ...]]
    images: Mapping[str, tuple[str, ...] | Unknown]
    enablement: Enablement | None
    boot_id: str | Unknown
    has_vfio: bool | Unknown = MISSING
    vfio_drivers: frozenset[str] = frozenset()
    reasons: Mapping[Address, tuple[Reason, ...]] = MappingProxyType({})

    @property
    def kernel(self) -> Kernel | None:
        """Return the running kernel; None where it is not installed."""
        release = self.facts.kernel_release
        kernels = self.installation.kernels
        return next((k for k in kernels if k.release == release), None)

    @property
    def messages(self) -> tuple[str, ...]:
        """Return the log's conclusive lines; none where it is unknown."""
        log = self.log
        return () if isinstance(log, Unknown) else kernel_log.conclusive(log)

    def refusals(self, address: Address) -> tuple[Reason, ...]:
        """Return why ``host enable`` refuses the group of a function."""
        reasons = self.reasons.get(address, ())
        return tuple(r for r in reasons if r.rule not in _NO_REFUSALS)

    @property
    def has_groups(self) -> bool:
        """Return whether any function is in an IOMMU group."""
        return any(
            isinstance(m.function.iommu_group, int) for m in self.members
        )


# What is against a group that is not yet enabled, or not yet selected.
_NO_REFUSALS = frozenset({NO_IOMMU, VFIO_NO_IOMMU, NO_PRIMARY})


class Case(NamedTuple):
    """One function that is expected on vfio-pci, with its host's evidence.

    :param target: the function as ``host enable`` was asked for it.
    :param member: the function as it is now; None where it is missing.
    :param targets: all functions that are expected on vfio-pci.
    """

    target: Target
    member: Member | None
    evidence: Evidence
    targets: tuple[Target, ...] = ()

    @property
    def function(self) -> Function | None:
        return None if self.member is None else self.member.function

    @property
    def detail(self) -> Detail | None:
        return None if self.member is None else self.member.detail

    @property
    def messages(self) -> tuple[str, ...]:
        """Return the log's lines that name the function, oldest first."""
        return kernel_log.about(self.evidence.messages, self.target.address)

    @property
    def is_unbound(self) -> bool:
        """Return whether the function is known to be on no VFIO driver."""
        return self.member is not None and self.member.is_on_vfio is False

    @property
    def is_without_iommu(self) -> bool:
        """Return whether it is in no group, and no setting gives it one."""
        function, facts = self.function, self.evidence.facts
        return (
            function is not None
            and function.iommu_group is None
            and facts.iommus == ()
            and not facts.can_have_iommu
        )

    @property
    def peers(self) -> tuple[Member, ...]:
        """Return the endpoints assigned with the function, itself included.

        These are its IOMMU group's; without groups, those of its card.
        """
        function = self.function
        if function is None:
            return ()
        return tuple(
            m
            for m in self.evidence.members
            if m.role.is_assigned and _share_group(m.function, function)
        )

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Return why the function's group cannot be assigned."""
        return self.evidence.reasons.get(self.target.address, ())

    @property
    def refusals(self) -> tuple[Reason, ...]:
        """Return the reasons for which ``host enable`` refuses the group."""
        return self.evidence.refusals(self.target.address)

    def is_vfio_driver(self, name: str) -> bool:
        """Return whether ``name`` is vfio-pci or another VFIO driver."""
        return name == VFIO_PCI or (
            name.replace("-", "_") in self.evidence.vfio_drivers
        )

    def is_target(self, address: Address) -> bool:
        """Return whether the function at ``address`` is a target."""
        return any(t.address == address for t in (self.target, *self.targets))


def _share_group(first: Function, second: Function) -> bool:
    if isinstance(second.iommu_group, int):
        return first.iommu_group == second.iommu_group
    return first.address.slot_address == second.address.slot_address
