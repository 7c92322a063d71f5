"""SUSE's boot loaders: GRUB with its generator, or sdbootutil."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpu_passthrough_plugin.enablement.bootloader import (
    grub2,
    grub_config,
    kernel_cmdline_file,
)
from gpu_passthrough_plugin.enablement.driver import (
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
from gpu_passthrough_plugin.model.change import Run
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

_SDBOOTUTIL, _MKCONFIG = "sdbootutil", "grub2-mkconfig"
# A snapshot's entry has its number before the kernel's release.
# Source: sdbootutil, ARCHITECTURE.md.
_SNAPSHOT = re.compile(r"(\d+)@")


class Suse(BootloaderDriver):
    """Decided by what is installed, and by whether it has any entries."""

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
        if _has_entries(installation):
            tool = installation.tools[_SDBOOTUTIL]
            return f"{tool} and loader entries are there"
        if (
            _MKCONFIG in installation.tools
            and grub_defaults.PATH in installation.files
        ):
            tool = installation.tools[_MKCONFIG]
            return f"{tool} and {grub_defaults.PATH} are there"
        return None

    def configured(self, installation: Installation) -> ConfiguredArguments:
        if not _has_entries(installation):
            files = grub_defaults.files(installation, has_drop_ins=False)
            return grub_config.configured(
                installation, files, grub2.read_menu(installation)
            )
        return ConfiguredArguments(
            {kernel_cmdline_file.PATH: kernel_cmdline_file.said(installation)},
            {
                e.path: e.arguments
                for e in loader_entries.entries(installation)
            },
        )

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        if not _has_entries(installation):
            return grub2.planned(
                installation, requirements, grub2.output(installation)
            )
        change, notes = kernel_cmdline_file.write(installation, requirements)
        tool = installation.tools[_SDBOOTUTIL]
        argv = (tool, "update-all-entries")
        mine = _of_this_snapshot(loader_entries.entries(installation))
        is_said = all(
            kernel_cmdline.is_satisfied(e.arguments, requirements)
            for e in mine
        )
        run = Run(
            grub_config.MENU,
            argv,
            tuple(entry.path for entry in mine),
            argv,
            not is_said or grub_config.is_change(change),
        )
        # Its images are on the boot partition, and it alone makes them.
        images = (tool, "mkinitrd")
        return BootloaderPlan(
            (change, run),
            notes,
            (Run("images", images, undo=images, is_needed=False),),
        )


def _has_entries(installation: Installation) -> bool:
    return _SDBOOTUTIL in installation.tools and bool(
        loader_entries.entries(installation)
    )


def _of_this_snapshot(
    found: Sequence[loader_entries.LoaderEntry],
) -> tuple[loader_entries.LoaderEntry, ...]:
    """Entries of the newest snapshot, or of none: older ones stay."""
    numbers = {entry.path: _number(entry) for entry in found}
    newest = max((n for n in numbers.values() if n is not None), default=None)
    return tuple(e for e in found if numbers[e.path] in (None, newest))


def _number(entry: loader_entries.LoaderEntry) -> int | None:
    match = _SNAPSHOT.match(entry.version)
    return int(match[1]) if match else None
