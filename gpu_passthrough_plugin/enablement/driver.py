"""The contract of enablement's drivers: what a boot loader, an initramfs
system, an IOMMU or a way of binding has to plan.

A driver is a class that is named in an entry point of its kind, such as
``gpu_passthrough_plugin.bootloader``; it is made without arguments.  It is
handed values that were read from the host and returns changes as values.  It
opens no file and runs no command itself: the plan is shown, carried out and
undone elsewhere.  What it reads of a host, it declares in ``reads``.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Build, Change, Run, Write
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.installation import (
    Installation,
    Kernel,
    Reads,
)

STEP_ARGUMENTS = "kernel arguments"
"""The step of a change to where kernel arguments are written."""
STEP_MENU = "boot menu"
"""The step of a change that brings them to what the boot loader reads."""


class Driver(abc.ABC):
    """What drivers of every kind have.

    :cvar name: of its entry point as well; an operator writes it into
        ``[enablement]``.
    :cvar reads: the files, folders and commands that it looks for.  A host
        is read by the union of these alone: what is not declared is not in
        the ``Installation`` that the driver is handed.
    """

    name: ClassVar[str]
    reads: ClassVar[Reads] = Reads()


class IommuDriver(Driver):
    """What one vendor's IOMMU needs on the kernel's command line."""

    @abc.abstractmethod
    def claims(self, facts: HostFacts) -> str | None:
        """Return what shows that the host has this IOMMU; None if nothing.

        The text is shown to the operator, such as ``ACPI table DMAR``.
        """

    @abc.abstractmethod
    def requirements(self, *, passthrough: bool) -> Requirements:
        """Return the kernel arguments that turn the IOMMU on.

        :param passthrough: whether the host's own DMA should bypass it
            (``iommu=pt``).
        """


class BootloaderPlan(NamedTuple):
    """What gives every kernel its arguments, in the order of execution.

    :param changes: of files, then commands; a change that is in effect
        already is in it as well, and its ``action`` is ``KEEP``.
    :param notes: lines for the operator, such as that a misspelt argument
        was corrected.
    :param image_commands: commands that copy or build initramfs images for
        the boot loader.  They are run when an image, or a file that goes
        into one, has changed.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    image_commands: tuple[Run, ...] = ()


class ConfiguredArguments(NamedTuple):
    """The kernel arguments that a boot loader has on disk, as words.

    :param sources: by file or setting: what the next generated boot entries
        will have.
    :param entries: by file or entry: what the boot loader reads now.
    """

    sources: Mapping[str, tuple[str, ...]]
    entries: Mapping[str, tuple[str, ...]]


class BootloaderDriver(Driver):
    """Where kernel arguments are configured, and what puts them in effect.

    :cvar precedence: drivers are asked whether the host is theirs in this
        order, lowest first; a driver for a more specific system has a lower
        number.  Those of this project use 10 to 70.
    """

    precedence: ClassVar[int]

    @abc.abstractmethod
    def claims(self, installation: Installation) -> str | None:
        """Return what shows that the host boots this way; None if nothing.

        The text is shown to the operator, such as ``/usr/sbin/grubby and
        /boot/loader/entries exist``.
        """

    @abc.abstractmethod
    def configured(self, installation: Installation) -> ConfiguredArguments:
        """Return the arguments that are on disk now."""

    @abc.abstractmethod
    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        """Return what makes every kernel boot with the required arguments.

        Arguments that are not mentioned stay as they are, where they are.
        Planned again after it was carried out, every change is ``KEEP``.

        :raises Refused: when the host's configuration cannot be changed
            safely; the message says what to do by hand.
        """


class InitramfsContent(NamedTuple):
    """What an initramfs has to hold and do before any driver binds.

    :param script: body of a POSIX shell script, without ``#!`` and without
        the frame that each initramfs system wants around it; empty for
        none.
    :param modules: to be in the image and loaded, in this order; with
        ``_`` for ``-``.
    :param config_files: absolute paths of files that have to be in the
        image.
    """

    script: str = ""
    modules: tuple[str, ...] = ()
    config_files: tuple[str, ...] = ()


class InitramfsDriver(Driver):
    """What builds the images that kernels start from.

    :cvar requirements: kernel arguments that its images need to work.
    """

    requirements: ClassVar[Requirements] = Requirements()

    @abc.abstractmethod
    def claims(self, installation: Installation) -> str | None:
        """Return what shows that it builds the host's images; None if not."""

    @abc.abstractmethod
    def files(
        self, installation: Installation, content: InitramfsContent
    ) -> tuple[Write, ...]:
        """Return the files that bring ``content`` into every later image.

        Files of this kind that an earlier plan wrote and that are not
        needed any more are removed.

        :raises Refused: when this system cannot do that on this host.
        """

    @abc.abstractmethod
    def build(
        self,
        installation: Installation,
        kernel: Kernel,
        content: InitramfsContent,
    ) -> Build | None:
        """Return what builds the image of one kernel, and how to check it.

        ``inputs`` and ``is_needed`` of the result are set by the caller.

        :return: None where the kernel's image is not at a path of its own,
            so that the boot loader's own command builds it.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class BindingCase:
    """What a binding driver plans from.

    :param targets: every function to be bound to vfio-pci, by address.
    :param others: every other function of the host.
    :param configured: kernel arguments that are on disk already, by file or
        setting; without those that this product put there.
    """

    targets: tuple[Target, ...]
    others: tuple[Function, ...]
    installation: Installation
    configured: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )


class BindingPlan(NamedTuple):
    """How the targets get to vfio-pci.

    :param requirements: kernel arguments that this needs.
    :param content: what every initramfs has to hold for it.
    """

    changes: tuple[Write, ...]
    requirements: Requirements
    content: InitramfsContent


class BindingDriver(Driver):
    """How functions get to vfio-pci before another driver binds them."""

    @abc.abstractmethod
    def plan(self, case: BindingCase) -> BindingPlan:
        """Return what is needed to bind exactly the targets.

        :raises Refused: when that would bind another function as well; the
            message names it.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Drivers:
    """The drivers that plan for one host."""

    iommu: IommuDriver
    bootloader: BootloaderDriver
    initramfs: InitramfsDriver
    binding: BindingDriver

    @property
    def names(self) -> dict[str, str]:
        """The names of those that know files of the host, by kind."""
        return {
            "iommu": self.iommu.name,
            "bootloader": self.bootloader.name,
            "initramfs": self.initramfs.name,
        }
