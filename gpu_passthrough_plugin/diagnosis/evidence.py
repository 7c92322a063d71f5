"""All that an explanation may look at, read from a host or a report."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.model.enablement import Enablement, Target
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Group, Member
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown


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


class Case(NamedTuple):
    """One function that is expected on vfio-pci, and all the evidence.

    :param function: None where the host does not show it.
    """

    target: Target
    member: Member | None
    evidence: Evidence

    @property
    def function(self) -> Function | None:
        return None if self.member is None else self.member.function
