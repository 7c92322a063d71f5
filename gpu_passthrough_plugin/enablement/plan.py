"""Everything that a host needs for its selected functions, in order."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.enablement import kernel_modules
from gpu_passthrough_plugin.enablement.driver import (
    Binding,
    BindingCase,
    Bootloader,
    BootPlan,
    Initramfs,
    Iommu,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import (
    Action,
    Build,
    Change,
    Run,
    Write,
)
from gpu_passthrough_plugin.model.enablement import Early, Enablement, Target
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.installation import Installation


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
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

    iommu: Iommu
    bootloader: Bootloader
    initramfs: Initramfs
    binding: Binding

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
        self, wish: Wish, drivers: Drivers, boot_id: str
    ) -> Enablement:
        """What is to be remembered of it."""
        return Enablement(
            targets=wish.targets,
            binding=drivers.binding.name,
            arguments=self.words,
            boot_id=boot_id,
            drivers=drivers.names,
        )


def plan(
    wish: Wish,
    drivers: Drivers,
    found: Installation,
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
        wish.targets, tuple(m.function for m in wish.others), found
    )
    bound = drivers.binding.plan(case)
    before = (
        *bound.changes,
        *kernel_modules.changes(
            wish.targets, wish.others, found, wish.blacklist
        ),
        *kernel_modules.unsafe_interrupts(
            found, is_wanted=wish.allow_unsafe_interrupts
        ),
    )
    early = bound.early._replace(configuration=_configuration(before))
    writes = (*before, *drivers.initramfs.files(found, early))
    wanted = (
        drivers.iommu.arguments(passthrough=wish.iommu_passthrough)
        | drivers.initramfs.arguments
        | bound.arguments
    )
    words = _words(wanted)
    stale = tuple(word for word in earlier if word not in words)
    booted = drivers.bootloader.plan(
        found, wanted | Requirements(forbidden=stale)
    )
    builds = _builds(drivers.initramfs, found, early, writes, built)
    copies = _copies(booted, (*writes, *builds))
    again = {run.argv for run in copies}
    rest = (
        change
        for change in booted.changes
        if not (isinstance(change, Run) and change.argv in again)
    )
    return Plan((*writes, *builds, *rest, *copies), booted.notes, words)


def images(
    initramfs: Initramfs, found: Installation, only: Iterable[str]
) -> tuple[Build, ...]:
    """What builds these images anew, without anything of ours in them."""
    wanted = frozenset(only)
    builds = (initramfs.build(found, k, Early()) for k in found.kernels)
    return tuple(b for b in builds if b is not None and b.image in wanted)


def _configuration(writes: Sequence[Write]) -> tuple[str, ...]:
    """Files of modprobe's that an image has to have as well."""
    return tuple(
        write.path
        for write in writes
        if write.path.startswith("/etc/modprobe.d/")
        and write.becomes is not None
    )


def _builds(
    initramfs: Initramfs,
    found: Installation,
    early: Early,
    writes: Sequence[Write],
    built: Mapping[str, str],
) -> tuple[Build, ...]:
    inputs = _digest(early, writes)
    builds = (initramfs.build(found, k, early) for k in found.kernels)
    return tuple(
        dataclasses.replace(
            build, inputs=inputs, is_needed=built.get(build.image) != inputs
        )
        for build in builds
        if build is not None
    )


def _copies(booted: BootPlan, before: Sequence[Change]) -> tuple[Run, ...]:
    """What brings new images to a boot loader that has copies of its own."""
    is_new = any(change.action is not Action.KEEP for change in before)
    done = {
        c.argv for c in booted.changes if isinstance(c, Run) and c.is_needed
    }
    return tuple(
        dataclasses.replace(run, is_needed=run.is_needed or is_new)
        for run in booted.images
        if run.argv not in done
    )


def _digest(early: Early, writes: Sequence[Write]) -> str:
    """Of all that an image may take from these files."""
    found = hashlib.sha256(repr(early).encode())
    for write in sorted(writes, key=lambda w: w.path):
        found.update(f"\0{write.path}\0{write.mode}\0".encode())
        found.update(write.becomes or b"")
    return found.hexdigest()


def _words(wanted: Requirements) -> tuple[str, ...]:
    lists = (f"{name}={','.join(values)}" for name, values in wanted.lists)
    return (*wanted.arguments, *lists)
