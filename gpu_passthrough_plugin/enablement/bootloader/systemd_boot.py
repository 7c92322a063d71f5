"""systemd-boot: loader entries made by kernel-install, or written by hand."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import kernel_cmdline_file
from gpu_passthrough_plugin.enablement.driver import (
    STEP_ARGUMENTS,
    STEP_MENU,
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import kernel_cmdline, loader_entries
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.formats.loader_entries import LoaderEntry
from gpu_passthrough_plugin.model.change import Change, Run, Write, is_change
from gpu_passthrough_plugin.model.installation import (
    Installation,
    Reads,
    encoded,
)

_TOOL = "kernel-install"


class SystemdBoot(BootloaderDriver):
    """A changed source affects new entries only: kernels are added again.

    Source: kernel-install(8), "/etc/kernel/cmdline"; systemd,
    90-loaderentry.install.
    """

    name = "systemd_boot"
    precedence = 40
    reads = (
        kernel_cmdline_file.READS
        | loader_entries.READS
        | Reads(files=("/etc/kernel/install.conf",), tools=(_TOOL,))
    )

    def claims(self, installation: Installation) -> str | None:
        path = loader_entries.loader_conf(installation)
        if path is None or not loader_entries.entries(installation):
            return None
        return f"{path} and loader entries exist"

    def configured(self, installation: Installation) -> ConfiguredArguments:
        sources = {}
        if kernel_cmdline_file.PATH in installation.files:
            sources[kernel_cmdline_file.PATH] = kernel_cmdline_file.arguments(
                installation
            )
        entries = (*_generated(installation), *_handwritten(installation))
        return ConfiguredArguments(
            sources, {entry.path: entry.arguments for entry in entries}
        )

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        generated = _generated(installation)
        _refuse_copies(installation)
        changes: list[Change] = []
        notes: list[str] = []
        is_source_changed = False
        if generated or kernel_cmdline_file.PATH in installation.files:
            source = kernel_cmdline_file.edit(installation, requirements)
            changes.append(source.change)
            notes += source.notes
            is_source_changed = is_change(source.change)
        for entry in _handwritten(installation):
            edited = loader_entries.edited(entry, requirements)
            notes += edited.notes
            changes.append(_write(entry, edited.text))
        runs = tuple(
            _add_again(
                installation,
                entry,
                is_needed=is_source_changed
                or not kernel_cmdline.is_satisfied(
                    entry.arguments, requirements
                ),
            )
            for entry in generated
        )
        # A kernel is added as a whole, with its image.
        return BootloaderPlan(
            (*changes, *runs), tuple(dict.fromkeys(notes)), runs
        )


def _refuse_copies(installation: Installation) -> None:
    """Raise if no entry loads an image that is built on this host.

    Pop!_OS's kernelstub, for one, copies images to the EFI system
    partition, and nothing copies them again when they are rebuilt.
    Source: pop-os/pop#872; kernelstub(1).

    :raises Refused: naming an entry and the image that it loads.
    """
    built = {k.image for k in installation.kernels if k.image is not None}
    loaded = {entry.path: entry.images for entry in _handwritten(installation)}
    if _generated(installation) or not built or not loaded:
        return
    # An entry without an image may have a kernel that holds one.
    if any(not i or built.intersection(i) for i in loaded.values()):
        return
    path, images = next(iter(loaded.items()))
    raise errors.Refused(
        f"{path} loads {images[-1]}, a copy that is not built again when"
        f" {min(built)} is, and no entry loads that: let an entry load it, or"
        " have the copy made again after every build (on Pop!_OS a hook in"
        " /etc/initramfs/post-update.d that runs kernelstub), and add the"
        " kernel arguments with that tool"
    )


def _generated(installation: Installation) -> tuple[LoaderEntry, ...]:
    """Return entries that kernel-install made for installed kernels."""
    if _TOOL not in installation.tools:
        return ()
    releases = {kernel.release for kernel in installation.kernels}
    return tuple(
        entry
        for entry in loader_entries.entries(installation)
        if entry.version in releases and _is_generated(entry)
    )


def _handwritten(installation: Installation) -> tuple[LoaderEntry, ...]:
    """Return entries that no tool, of this system or another, generates."""
    return tuple(
        entry
        for entry in loader_entries.entries(installation)
        if not _is_generated(entry)
    )


def _is_generated(entry: LoaderEntry) -> bool:
    """Return whether it has a machine, or a kernel where tools put them."""
    kernel = entry.fields["linux"]
    return "machine-id" in entry.fields or kernel.endswith(
        f"/{entry.version}/linux"
    )


def _write(entry: LoaderEntry, text: str) -> Write:
    return Write(
        STEP_ARGUMENTS, entry.path, encoded(entry.text), encoded(text)
    )


def _add_again(
    installation: Installation, entry: LoaderEntry, *, is_needed: bool
) -> Run:
    release = entry.version
    # Debian has kernels in /boot, Fedora and Arch next to their modules.
    kernel = f"/usr/lib/modules/{release}/vmlinuz"
    if f"vmlinuz-{release}" in installation.names("/boot"):
        kernel = f"/boot/vmlinuz-{release}"
    argv = (installation.tools[_TOOL], "add", release, kernel)
    touches = (entry.path, *entry.files)
    return Run(STEP_MENU, argv, touches, argv, is_needed)
