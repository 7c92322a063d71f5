"""SUSE: GRUB with its generator, or loader entries made by sdbootutil."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpu_passthrough_plugin.enablement.bootloader import (
    grub2,
    kernel_cmdline_file,
)
from gpu_passthrough_plugin.enablement.driver import (
    STEP_MENU,
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import (
    grub_defaults,
    kernel_cmdline,
    loader_entries,
    os_release,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.formats.loader_entries import LoaderEntry
from gpu_passthrough_plugin.model.change import Run, is_change
from gpu_passthrough_plugin.model.installation import Installation, Reads

_SDBOOTUTIL, _MKCONFIG = "sdbootutil", "grub2-mkconfig"
# A snapshot's entry has its number before the kernel's release.
# Source: sdbootutil, ARCHITECTURE.md.
_SNAPSHOT = re.compile(r"(\d+)@")


class Suse(BootloaderDriver):
    """GRUB, or loader entries where sdbootutil is installed and has some."""

    name = "suse"
    precedence = 30
    reads = (
        os_release.READS
        | kernel_cmdline_file.READS
        | loader_entries.READS
        | grub2.Grub2.reads
        | Reads(files=("/etc/sysconfig/bootloader",), tools=(_SDBOOTUTIL,))
    )

    def claims(self, installation: Installation) -> str | None:
        if not os_release.is_like(installation, "suse", "opensuse", "sles"):
            return None
        tools = installation.tools
        if _has_loader_entries(installation):
            return f"{tools[_SDBOOTUTIL]} and loader entries exist"
        if _MKCONFIG in tools and grub_defaults.PATH in installation.files:
            return f"{tools[_MKCONFIG]} and {grub_defaults.PATH} exist"
        return None

    def configured(self, installation: Installation) -> ConfiguredArguments:
        if not _has_loader_entries(installation):
            files = grub_defaults.files(installation, has_drop_ins=False)
            return grub2.configured(
                installation, files, grub2.known_menu(installation)
            )
        source = kernel_cmdline_file.arguments(installation)
        return ConfiguredArguments(
            {kernel_cmdline_file.PATH: source},
            {
                entry.path: entry.arguments
                for entry in loader_entries.entries(installation)
            },
        )

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        if not _has_loader_entries(installation):
            menu = grub2.menu(installation)
            return grub2.edit(installation, requirements, menu)
        edited = kernel_cmdline_file.edit(installation, requirements)
        tool = installation.tools[_SDBOOTUTIL]
        argv = (tool, "update-all-entries")
        entries = _of_newest_snapshot(loader_entries.entries(installation))
        is_up_to_date = all(
            kernel_cmdline.is_satisfied(entry.arguments, requirements)
            for entry in entries
        )
        run = Run(
            STEP_MENU,
            argv,
            tuple(entry.path for entry in entries),
            argv,
            is_change(edited.change) or not is_up_to_date,
        )
        # The images are on the boot partition, and it alone builds them.
        images = (tool, "mkinitrd")
        return BootloaderPlan(
            (edited.change, run),
            edited.notes,
            (
                Run(
                    "rebuild initramfs",
                    images,
                    undo_argv=images,
                    is_needed=False,
                ),
            ),
        )


def _has_loader_entries(installation: Installation) -> bool:
    return _SDBOOTUTIL in installation.tools and bool(
        loader_entries.entries(installation)
    )


def _of_newest_snapshot(
    entries: Sequence[LoaderEntry],
) -> tuple[LoaderEntry, ...]:
    """Return the entries of the newest snapshot, and those of none.

    sdbootutil leaves the entries of older snapshots as they are.
    """
    numbers = {entry.path: _snapshot(entry) for entry in entries}
    newest = max((n for n in numbers.values() if n is not None), default=None)
    return tuple(e for e in entries if numbers[e.path] in (None, newest))


def _snapshot(entry: LoaderEntry) -> int | None:
    match = _SNAPSHOT.match(entry.version)
    return int(match[1]) if match else None
