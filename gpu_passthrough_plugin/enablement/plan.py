"""Everything that a host needs for its selected functions, in order."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.enablement import kernel_modules
from gpu_passthrough_plugin.enablement.driver import (
    BindingCase,
    BindingDriver,
    BootloaderDriver,
    BootloaderPlan,
    InitramfsDriver,
    IommuDriver,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import (
    Action,
    Build,
    Change,
    Run,
    Write,
)
from gpu_passthrough_plugin.model.enablement import (
    Enablement,
    InitramfsContent,
    Target,
)
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.installation import Installation


@dataclasses.dataclass(frozen=True, slots=True)
class DesiredState:
    """What the operator wants of the host.

    :param others: every member that is no target.
    """

    targets: tuple[Target, ...]
    others: tuple[Member, ...]
    blacklist: tuple[str, ...] = ()
    iommu_passthrough: bool = False
    allow_unsafe_interrupts: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Drivers:
    """Who plans what."""

    iommu: IommuDriver
    bootloader: BootloaderDriver
    initramfs: InitramfsDriver
    binding: BindingDriver

    @property
    def names(self) -> dict[str, str]:
        return {
            "iommu": self.iommu.name,
            "bootloader": self.bootloader.name,
            "initramfs": self.initramfs.name,
        }


class Plan(NamedTuple):
    """Changes in the order in which they are made.

    Modules and early script first, then images, then what the kernel is
    told: a host that goes down in between boots as before, or with an
    early script whose binding fails without an IOMMU.

    :param words: that the kernel has to be told.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    words: tuple[str, ...]

    def enablement(
        self, desired: DesiredState, drivers: Drivers, boot_id: str
    ) -> Enablement:
        """What is to be remembered of it."""
        return Enablement(
            targets=desired.targets,
            binding=drivers.binding.name,
            arguments=self.words,
            boot_id=boot_id,
            drivers=drivers.names,
        )


def plan(
    desired: DesiredState,
    drivers: Drivers,
    installation: Installation,
    built: Mapping[str, str],
    earlier: Sequence[str] = (),
) -> Plan:
    """What makes the host ready; what is so already is in it as kept.

    :param built: by image, the inputs that it was last built with, where
        nobody has written it since.
    :param earlier: words that the kernel was to be told before.
    :raises Refused: when a driver cannot do that on this host.
    """
    case = BindingCase(
        desired.targets,
        tuple(m.function for m in desired.others),
        installation,
    )
    bound = drivers.binding.plan(case)
    before = (
        *bound.changes,
        *kernel_modules.changes(
            desired.targets, desired.others, installation, desired.blacklist
        ),
        *kernel_modules.unsafe_interrupts(
            installation, is_wanted=desired.allow_unsafe_interrupts
        ),
    )
    early = bound.content._replace(config_files=_config_files(before))
    writes = (*before, *drivers.initramfs.files(installation, early))
    wanted = (
        drivers.iommu.requirements(passthrough=desired.iommu_passthrough)
        | drivers.initramfs.requirements
        | bound.requirements
    )
    words = _words(wanted)
    stale = tuple(word for word in earlier if word not in words)
    booted = drivers.bootloader.plan(
        installation, wanted | Requirements(forbidden=stale)
    )
    builds = _builds(drivers.initramfs, installation, early, writes, built)
    copies = _copies(booted, (*writes, *builds))
    again = {run.argv for run in copies}
    rest = (
        change
        for change in booted.changes
        if not (isinstance(change, Run) and change.argv in again)
    )
    return Plan((*writes, *builds, *rest, *copies), booted.notes, words)


def images(
    initramfs: InitramfsDriver, installation: Installation, only: Iterable[str]
) -> tuple[Build, ...]:
    """What builds these images anew, without anything of ours in them."""
    wanted = frozenset(only)
    builds = (
        initramfs.build(installation, k, InitramfsContent())
        for k in installation.kernels
    )
    return tuple(b for b in builds if b is not None and b.image in wanted)


def _config_files(writes: Sequence[Write]) -> tuple[str, ...]:
    """Files of modprobe's that an image has to have as well."""
    return tuple(
        write.path
        for write in writes
        if write.path.startswith("/etc/modprobe.d/")
        and write.becomes is not None
    )


def _builds(
    initramfs: InitramfsDriver,
    installation: Installation,
    content: InitramfsContent,
    writes: Sequence[Write],
    built: Mapping[str, str],
) -> tuple[Build, ...]:
    inputs = _digest(content, writes)
    builds = (
        initramfs.build(installation, k, content) for k in installation.kernels
    )
    return tuple(
        dataclasses.replace(
            build, inputs=inputs, is_needed=built.get(build.image) != inputs
        )
        for build in builds
        if build is not None
    )


def _copies(
    booted: BootloaderPlan, before: Sequence[Change]
) -> tuple[Run, ...]:
    """What brings new images to a boot loader that has copies of its own."""
    is_new = any(change.action is not Action.KEEP for change in before)
    done = {
        c.argv for c in booted.changes if isinstance(c, Run) and c.is_needed
    }
    return tuple(
        dataclasses.replace(run, is_needed=run.is_needed or is_new)
        for run in booted.image_commands
        if run.argv not in done
    )


def _digest(content: InitramfsContent, writes: Sequence[Write]) -> str:
    """Of all that an image may take from these files."""
    found = hashlib.sha256(repr(content).encode())
    for write in sorted(writes, key=lambda w: w.path):
        found.update(f"\0{write.path}\0{write.mode}\0".encode())
        found.update(write.becomes or b"")
    return found.hexdigest()


def _words(requirements: Requirements) -> tuple[str, ...]:
    lists = (
        f"{name}={','.join(values)}" for name, values in requirements.lists
    )
    return (*requirements.arguments, *lists)
