"""systemd-boot: entries made by kernel-install, or written by hand."""

from __future__ import annotations

from gpu_passthrough_plugin.enablement.bootloader import (
    grub_config,
    kernel_cmdline_file,
)
from gpu_passthrough_plugin.enablement.driver import (
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import kernel_cmdline, loader_entries
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Change, Run, Write
from gpu_passthrough_plugin.model.installation import Installation, encoded
from gpu_passthrough_plugin.model.reads import Reads

_TOOL = "kernel-install"


class SystemdBoot(BootloaderDriver):
    """A changed source changes only new entries: kernels are added anew.

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
        return f"{path} and loader entries are there"

    def configured(self, installation: Installation) -> ConfiguredArguments:
        sources = {}
        if kernel_cmdline_file.PATH in installation.files:
            sources[kernel_cmdline_file.PATH] = kernel_cmdline_file.said(
                installation
            )
        ours = (*_installed(installation), *_by_hand(installation))
        return ConfiguredArguments(
            sources, {e.path: e.arguments for e in ours}
        )

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        installed = _installed(installation)
        changes: list[Change] = []
        notes: list[str] = []
        if installed or kernel_cmdline_file.PATH in installation.files:
            source, said = kernel_cmdline_file.write(
                installation, requirements
            )
            changes.append(source)
            notes += said
        for entry in _by_hand(installation):
            text = loader_entries.edited(entry, requirements)
            notes += text.notes
            changes.append(_write(entry, text.text))
        is_changed = any(
            grub_config.is_change(c)
            for c in changes
            if c.target == kernel_cmdline_file.PATH
        )
        runs = tuple(
            _run(installation, entry, requirements, is_changed)
            for entry in installed
        )
        noted = tuple(dict.fromkeys(notes))
        # A kernel is added as a whole, with its image.
        return BootloaderPlan((*changes, *runs), noted, runs)


def _installed(
    installation: Installation,
) -> tuple[loader_entries.LoaderEntry, ...]:
    """Entries that kernel-install made for kernels that are there."""
    if _TOOL not in installation.tools:
        return ()
    releases = {kernel.release for kernel in installation.kernels}
    return tuple(
        entry
        for entry in loader_entries.entries(installation)
        if entry.version in releases and _is_made(entry)
    )


def _by_hand(
    installation: Installation,
) -> tuple[loader_entries.LoaderEntry, ...]:
    """Entries that nobody makes anew, and that no other system did."""
    return tuple(
        entry
        for entry in loader_entries.entries(installation)
        if not _is_made(entry)
    )


def _is_made(entry: loader_entries.LoaderEntry) -> bool:
    """Whether it is of a machine, or its kernel where kernel-install is."""
    return "machine-id" in entry.fields or entry.fields["linux"].endswith(
        f"/{entry.version}/linux"
    )


def _write(entry: loader_entries.LoaderEntry, text: str) -> Write:
    was, becomes = encoded(entry.text), encoded(text)
    return Write(grub_config.ARGUMENTS, entry.path, was, becomes)


def _run(
    installation: Installation,
    entry: loader_entries.LoaderEntry,
    requirements: Requirements,
    is_changed: bool,
) -> Run:
    release = entry.version
    # Debian's kernels are in /boot, Fedora's and Arch's with their modules.
    image = f"/usr/lib/modules/{release}/vmlinuz"
    if f"vmlinuz-{release}" in installation.names("/boot"):
        image = f"/boot/vmlinuz-{release}"
    argv = (installation.tools[_TOOL], "add", release, image)
    return Run(
        grub_config.MENU,
        argv,
        (entry.path, *entry.files),
        argv,
        is_changed
        or not kernel_cmdline.is_satisfied(entry.arguments, requirements),
    )
