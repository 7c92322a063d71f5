"""What enabling a host has to change, in the order in which it is done.

Files of modprobe, modules-load and the initramfs system come first, images
after them, and kernel arguments last: a host that goes down in between boots
as before, or with an early script whose binding fails without an IOMMU.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import (
    kernel_modules,
    own_files,
    targets,
)
from gpu_passthrough_plugin.enablement.driver import (
    BindingCase,
    BindingPlan,
    BootloaderPlan,
    Drivers,
    InitramfsContent,
    InitramfsDriver,
)
from gpu_passthrough_plugin.formats import pci_removal
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.change import (
    Build,
    Change,
    Run,
    Write,
    is_change,
)
from gpu_passthrough_plugin.model.change_history import (
    Enablement,
    History,
    Target,
)
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.host_facts import HostUse
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown, encoded

_MODPROBE = "/etc/modprobe.d/"


@dataclasses.dataclass(frozen=True, slots=True)
class DesiredState:
    """What a host should do at every boot.

    :param targets: functions to be bound to vfio-pci, by address.
    :param others: every function that is no target.
    :param blacklist: kernel modules that should not load by themselves.
    :param uses: what the host uses functions for.
    :param virtual_functions: the targets that are SR-IOV virtual functions.
    :param selection: the host's file that remembers what was selected; None
        where it has none.
    """

    targets: tuple[Target, ...]
    others: tuple[Member, ...]
    blacklist: tuple[str, ...] = ()
    uses: tuple[HostUse, ...] | Unknown = ()
    iommu_passthrough: bool = False
    allow_unsafe_interrupts: bool = False
    virtual_functions: tuple[Address, ...] = ()
    selection: Write | None = None


class HostPlan(NamedTuple):
    """Every change, in order, with those that are in effect already.

    :param notes: lines for the operator.
    :param enablement: what to remember of the plan.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    enablement: Enablement

    @property
    def has_changes(self) -> bool:
        """Whether anything is to be done."""
        return any(map(is_change, self.changes))

    @property
    def needs_reboot(self) -> bool:
        """Whether anything changes that the next boot reads."""
        return any(map(is_change, _of_boot(self.changes)))


def _of_boot(changes: Iterable[Change]) -> Iterator[Change]:
    return (c for c in changes if c.step != own_files.SELECTION_STEP)


def plan(
    desired: DesiredState,
    drivers: Drivers,
    installation: Installation,
    boot_id: str,
    history: History | None = None,
    built: Mapping[str, str] | None = None,
) -> HostPlan:
    """Return what brings a host into the desired state.

    :param boot_id: of the running boot; empty where it is not known.
    :param history: of earlier changes; what was begun then and not finished
        is done again.
    :param built: by image, the digest of the inputs that it was last built
        with, where it has not been written since.
    :raises Refused: when a driver cannot do it on this host, or the host
        was enabled by other drivers.
    """
    _require_same_drivers(drivers, history)
    binding = _binding(desired, drivers, installation, history)
    files = _files(desired, drivers.initramfs, installation, binding)
    requirements = (
        drivers.iommu.requirements(passthrough=desired.iommu_passthrough)
        | drivers.initramfs.requirements
        | binding.requirements
    )
    arguments = _arguments(requirements)
    bootloader = drivers.bootloader.plan(
        installation, requirements | _outdated(history, arguments)
    )
    builds = _builds(drivers.initramfs, installation, files, built or {})
    selection = () if desired.selection is None else (desired.selection,)
    changes = repeat_unfinished(
        (*selection, *_in_order(files.writes, builds, bootloader)), history
    )
    enablement = Enablement(
        targets=desired.targets,
        binding=drivers.binding.name,
        arguments=arguments,
        boot_id=_boot_of_last_change(boot_id, history, changes),
        drivers=drivers.names,
    )
    notes = (
        *bootloader.notes,
        *targets.notes(
            desired.targets, history.enablement.targets if history else ()
        ),
        *_late_notes(desired),
        *_removal_notes(desired, installation),
    )
    return HostPlan(changes, notes, enablement)


def _binding(
    desired: DesiredState,
    drivers: Drivers,
    installation: Installation,
    history: History | None,
) -> BindingPlan:
    return drivers.binding.plan(
        BindingCase(
            desired.targets,
            tuple(member.function for member in desired.others),
            installation,
            _configured(drivers, installation, history),
        )
    )


def _configured(
    drivers: Drivers, installation: Installation, history: History | None
) -> dict[str, tuple[str, ...]]:
    """Return the kernel arguments on disk that this product did not add."""
    own = frozenset(history.enablement.arguments if history else ())
    configured = drivers.bootloader.configured(installation)
    return {
        place: tuple(word for word in words if word not in own)
        for places in (configured.sources, configured.entries)
        for place, words in places.items()
    }


def _late_notes(desired: DesiredState) -> tuple[str, ...]:
    """Return what no early script can bind: it is not there yet."""
    if not desired.virtual_functions:
        return ()
    names = ", ".join(map(str, desired.virtual_functions))
    return (
        f"{names}: a virtual function is there only after the driver of its"
        " physical function enabled it, which is later than early scripts"
        " run: it is bound when an instance boots, or by a udev rule or"
        " driverctl",
    )


def _removal_notes(
    desired: DesiredState, installation: Installation
) -> Iterator[str]:
    """Yield what will take targets off the bus again, once for each rule."""
    for removal in pci_removal.removals(installation):
        addresses = [
            target.address
            for target in desired.targets
            if removal.covers(
                target.address, target.vendor_id, target.class_code
            )
        ]
        if addresses:
            names = ", ".join(map(str, addresses))
            yield (
                f"{removal.path}:{removal.line} removes {names} from the bus"
                f" at each boot, so that no guest can have it:"
                f" {removal.remedy}"
            )


def restored_images(
    initramfs: InitramfsDriver,
    installation: Installation,
    paths: Iterable[str],
) -> tuple[Build, ...]:
    """Return what builds these images without anything of this product."""
    restored = frozenset(paths)
    builds = (
        initramfs.build(installation, kernel, InitramfsContent())
        for kernel in installation.kernels
    )
    return tuple(
        build
        for build in builds
        if build is not None and build.image in restored
    )


def _require_same_drivers(drivers: Drivers, history: History | None) -> None:
    """Raise if the host was enabled by others: each knows its files alone."""
    before = dict(history.enablement.drivers) if history else drivers.names
    if before != drivers.names:
        raise errors.Refused(
            f"this host was enabled with the drivers {_shown(before)}, and"
            f" would now be planned with {_shown(drivers.names)}: run"
            " 'gpu-passthrough host disable' first"
        )


def _shown(names: Mapping[str, str]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in sorted(names.items()))


class _Files(NamedTuple):
    """Every file outside the boot loader, and what images take of these."""

    writes: tuple[Write, ...]
    content: InitramfsContent


def _files(
    desired: DesiredState,
    initramfs: InitramfsDriver,
    installation: Installation,
    binding: BindingPlan,
) -> _Files:
    """Return the files of modprobe, modules-load and the initramfs system.

    Those of modprobe have to be in every image as well.
    """
    module_files = kernel_modules.files(
        installation.kernels,
        desired.targets,
        desired.others,
        desired.blacklist,
        desired.uses,
        allows_unsafe_interrupts=desired.allow_unsafe_interrupts,
    )
    configured = (
        *binding.changes,
        *own_files.writes(installation, *module_files),
    )
    in_images = tuple(
        write.path
        for write in configured
        if write.path.startswith(_MODPROBE) and write.becomes is not None
    )
    content = binding.content._replace(config_files=in_images)
    return _Files(
        (*configured, *initramfs.files(installation, content)), content
    )


def _builds(
    initramfs: InitramfsDriver,
    installation: Installation,
    files: _Files,
    built: Mapping[str, str],
) -> tuple[Build, ...]:
    inputs = _digest(files)
    builds = (
        initramfs.build(installation, kernel, files.content)
        for kernel in installation.kernels
    )
    return tuple(
        dataclasses.replace(
            build,
            inputs=inputs,
            is_needed=built.get(build.image) != inputs,
        )
        for build in builds
        if build is not None
    )


def _digest(files: _Files) -> str:
    """Return the digest of all that an image takes from this product."""
    digest = hashlib.sha256(repr(tuple(files.content)).encode())
    for write in sorted(files.writes, key=lambda write: write.path):
        digest.update(encoded(f"\0{write.path}\0{write.mode}\0"))
        digest.update(write.becomes or b"")
    return digest.hexdigest()


def _in_order(
    writes: Sequence[Write],
    builds: Sequence[Build],
    bootloader: BootloaderPlan,
) -> tuple[Change, ...]:
    """Return all changes: files, images, the boot loader's, and its images.

    A command that takes images to the boot loader is run once: with the boot
    loader's own changes where these need it, and else last.
    """
    before: tuple[Change, ...] = (*writes, *builds)
    is_due = any(map(is_change, before))
    run_already = {
        change.argv
        for change in bootloader.changes
        if isinstance(change, Run) and change.is_needed
    }
    image_commands = tuple(
        dataclasses.replace(run, is_needed=run.is_needed or is_due)
        for run in bootloader.image_commands
        if run.argv not in run_already
    )
    run_later = {run.argv for run in image_commands}
    arguments = (
        change
        for change in bootloader.changes
        if not (isinstance(change, Run) and change.argv in run_later)
    )
    return (*before, *arguments, *image_commands)


def repeat_unfinished(
    changes: tuple[Change, ...], history: History | None
) -> tuple[Change, ...]:
    """Return the changes; those that were begun and not finished are needed.

    A command that was killed may have done half of its work, which its
    files need not show.
    """
    unfinished = history.unfinished if history else frozenset()
    return tuple(
        change
        if isinstance(change, Write) or change.target not in unfinished
        else dataclasses.replace(change, is_needed=True)
        for change in changes
    )


def _boot_of_last_change(
    boot_id: str, history: History | None, changes: Sequence[Change]
) -> str:
    """Return the id of this boot; that of before where nothing changes."""
    if (
        history
        and history.is_finished
        and not any(map(is_change, _of_boot(changes)))
    ):
        return history.enablement.boot_id
    return boot_id


def _outdated(
    history: History | None, arguments: Sequence[str]
) -> Requirements:
    """Return the arguments of an earlier plan, to be removed."""
    before = history.enablement.arguments if history else ()
    return Requirements(
        forbidden=tuple(word for word in before if word not in arguments)
    )


def _arguments(requirements: Requirements) -> tuple[str, ...]:
    lists = (
        f"{name}={','.join(values)}" for name, values in requirements.lists
    )
    return (*requirements.arguments, *lists)
