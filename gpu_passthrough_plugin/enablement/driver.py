"""What drivers of enablement are: pure planners, found by entry point.

A driver looks at values and returns changes as data; it never acts.  Each
says for itself whether a host is its own.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Build, Change, Run, Write
from gpu_passthrough_plugin.model.enablement import InitramfsContent, Target
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.installation import Installation, Kernel
from gpu_passthrough_plugin.model.reads import Reads


class Driver(abc.ABC):
    """What every kind has: a name, which its entry point has as well."""

    name: ClassVar[str]
    reads: ClassVar[Reads] = Reads()
    """What it reads of a host: discovery reads that, and nothing else."""


class IommuDriver(Driver):
    """What the kernel has to be told for one maker's IOMMU."""

    @abc.abstractmethod
    def claims(self, facts: HostFacts) -> str | None:
        """Why the host's IOMMU is this one; None when it is not."""

    @abc.abstractmethod
    def requirements(self, *, passthrough: bool) -> Requirements:
        """What turns it on.

        :param passthrough: whether the host's own DMA is to bypass it
            (``iommu=pt``).
        """


class BootloaderPlan(NamedTuple):
    """Changes to a boot loader's configuration, in order.

    :param notes: what an operator should know, such as a misspelt
        argument that is corrected.
    :param image_commands: commands without which the boot loader goes on
        with the old images, because it has copies of its own, or they alone
        build them; due when an image, or what goes into it, has changed.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    image_commands: tuple[Run, ...] = ()


class ConfiguredArguments(NamedTuple):
    """The kernel arguments that a boot loader has on disk, as words.

    :param sources: by place, what the next generated entries will say.
    :param entries: by file or entry, what the boot loader reads now.
    """

    sources: Mapping[str, tuple[str, ...]]
    entries: Mapping[str, tuple[str, ...]]


class BootloaderDriver(Driver):
    """Where kernel arguments live, and what brings them to the kernel."""

    precedence: ClassVar[int]
    """Asked in this order, lowest first: the most particular ones."""

    @abc.abstractmethod
    def claims(self, installation: Installation) -> str | None:
        """Why the host boots by this one; None when it does not."""

    @abc.abstractmethod
    def configured(self, installation: Installation) -> ConfiguredArguments:
        """What is on disk now."""

    @abc.abstractmethod
    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        """What makes every kernel boot with these arguments.

        Changes that would change nothing are in it, to be kept.

        :raises Refused: when the host cannot be changed in a way that is
            known to be safe; it says what to do by hand.
        """


class InitramfsDriver(Driver):
    """What builds the images that kernels start from."""

    requirements: ClassVar[Requirements] = Requirements()
    """What its images want to be told on the kernel's command line."""

    @abc.abstractmethod
    def claims(self, installation: Installation) -> str | None:
        """Why images are built by this one; None when they are not."""

    @abc.abstractmethod
    def files(
        self, installation: Installation, content: InitramfsContent
    ) -> tuple[Write, ...]:
        """Files that bring ``early`` into every image built from now on.

        :raises Refused: when this system cannot do that on this host.
        """

    @abc.abstractmethod
    def build(
        self,
        installation: Installation,
        kernel: Kernel,
        content: InitramfsContent,
    ) -> Build | None:
        """What builds one kernel's image; ``inputs`` is left empty.

        None where its image is not in a place of its own, and the boot
        loader's own command builds it.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class BindingCase:
    """What a binding driver decides about.

    :param targets: every function to be taken, by address.
    :param others: every other function of the host.
    """

    targets: tuple[Target, ...]
    others: tuple[Function, ...]
    installation: Installation


class BindingPlan(NamedTuple):
    """How the targets get to vfio-pci, for boot loader and initramfs too."""

    changes: tuple[Write, ...]
    requirements: Requirements
    content: InitramfsContent


class BindingDriver(Driver):
    """How functions get to vfio-pci before any other driver sees them."""

    @abc.abstractmethod
    def plan(self, case: BindingCase) -> BindingPlan:
        """What is needed.

        :raises Refused: when it would also take what was not selected;
            it says which function.
        """
