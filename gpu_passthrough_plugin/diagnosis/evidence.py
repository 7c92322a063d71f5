"""All that an explanation may look at, read from a host or a report."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.change_history import Enablement, Target
from gpu_passthrough_plugin.model.function import VFIO_PCI, Detail, Function
from gpu_passthrough_plugin.model.group import Group, Member, Role
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.installation import Installation, Kernel
from gpu_passthrough_plugin.model.reading import MISSING, Unknown


class Confidence(enum.StrEnum):
    """How sure a cause is."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Cause(NamedTuple):
    """One reason why a function is not where it should be.

    :param name: a stable word; the guide has an anchor of that name.
    :param text: what is wrong, in one line.
    :param evidence: the very line or value that shows it.
    :param fix: what to do, exactly.
    """

    name: str
    confidence: Confidence
    text: str
    evidence: str
    fix: str

    def __str__(self) -> str:
        """The text, and where the guide says more."""
        return f"{self.text} (see causes: {self.name})"


class Evidence(NamedTuple):
    """One host, as it was found.

    :param members: every function of the host with its details, by
        address.
    :param groups: the kernel's groups; those without an IOMMU have the
        number None.
    :param installation: how the host boots.
    :param log: lines of the kernel's log of this boot, oldest first,
        without their time.
    :param configured: by place, words that the boot loader's sources say.
    :param entries: by file, words that the boot loader reads.
    :param images: by kernel release, the names in its initramfs.
    :param enablement: what ``host enable`` last brought about; None where
        it was never run, or all was undone.
    :param boot_id: of the running boot.
    :param has_vfio: whether the running kernel has vfio-pci, as a module or
        built in.
    :param vfio_drivers: names of the kernel's other VFIO drivers, as far as
        they are known, with ``_``.
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

    @property
    def kernel(self) -> Kernel | None:
        """The running kernel, where it is one of those installed."""
        release = self.facts.kernel_release
        kernels = self.installation.kernels
        return next((k for k in kernels if k.release == release), None)

    @property
    def messages(self) -> tuple[str, ...]:
        """The log without what proves nothing; empty where it is unknown."""
        log = self.log
        return () if isinstance(log, Unknown) else kernel_log.conclusive(log)

    @property
    def has_groups(self) -> bool:
        """Whether any function is in an IOMMU group."""
        return any(
            isinstance(m.function.iommu_group, int) for m in self.members
        )


class Case(NamedTuple):
    """One function that is expected on vfio-pci, and all the evidence.

    :param member: None where the host does not show the function.
    :param targets: all that are expected there.
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
        """Lines of the kernel's log about the function, oldest first."""
        return kernel_log.about(self.evidence.messages, self.target.address)

    @property
    def is_unbound(self) -> bool:
        """Whether no VFIO driver is known to have it."""
        return self.member is not None and self.member.is_on_vfio is False

    @property
    def fellows(self) -> tuple[Member, ...]:
        """Endpoints that go to a guest with it: its group's, or its card's.

        Without groups one card is taken for one.
        """
        function = self.function
        if function is None:
            return ()
        return tuple(
            m
            for m in self.evidence.members
            if m.role is not Role.BRIDGE and _are_one(m.function, function)
        )

    def is_vfio_driver(self, name: str) -> bool:
        """Return whether a driver, such as of an override, is VFIO's."""
        return name == VFIO_PCI or (
            name.replace("-", "_") in self.evidence.vfio_drivers
        )

    def is_target(self, address: Address) -> bool:
        return any(t.address == address for t in (self.target, *self.targets))


def _are_one(one: Function, other: Function) -> bool:
    if isinstance(other.iommu_group, int):
        return one.iommu_group == other.iommu_group
    return one.address.card == other.address.card
