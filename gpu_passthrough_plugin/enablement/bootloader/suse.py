"""SUSE's boot loaders: GRUB with its generator, or sdbootutil."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpu_passthrough_plugin.enablement.bootloader import (
    cmdline,
    defaults,
    grub2,
    mkconfig,
    system,
)
from gpu_passthrough_plugin.enablement.bootloader.entries import (
    READS as ENTRIES,
)
from gpu_passthrough_plugin.enablement.bootloader.entries import (
    Entry,
    entries,
)
from gpu_passthrough_plugin.enablement.driver import (
    Bootloader,
    BootPlan,
    Configured,
)
from gpu_passthrough_plugin.formats import kernel_cmdline
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Run
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

_SDBOOTUTIL, _MKCONFIG = "sdbootutil", "grub2-mkconfig"
# A snapshot's entry has its number before the kernel's release.
# Source: sdbootutil, ARCHITECTURE.md.
_SNAPSHOT = re.compile(r"(\d+)@")


class Suse(Bootloader):
    """Decided by what is installed, and by whether it has any entries."""

    name = "suse"
    precedence = 30
    reads = (
        system.READS
        | cmdline.READS
        | ENTRIES
        | grub2.Grub2.reads
        | Reads(files=("/etc/sysconfig/bootloader",), tools=(_SDBOOTUTIL,))
    )

    def claims(self, found: Installation) -> str | None:
        if not system.is_like(found, "suse", "opensuse", "sles"):
            return None
        if _has_entries(found):
            tool = found.tools[_SDBOOTUTIL]
            return f"{tool} and loader entries are there"
        if _MKCONFIG in found.tools and defaults.PATH in found.files:
            return f"{found.tools[_MKCONFIG]} and {defaults.PATH} are there"
        return None

    def configured(self, found: Installation) -> Configured:
        if not _has_entries(found):
            files = defaults.sources(found, beside=False)
            return mkconfig.configured(found, files, grub2.read_menu(found))
        return Configured(
            {cmdline.PATH: cmdline.said(found)},
            {e.path: e.words for e in entries(found)},
        )

    def plan(self, found: Installation, wanted: Requirements) -> BootPlan:
        if not _has_entries(found):
            return grub2.planned(found, wanted, grub2.output(found))
        change, notes = cmdline.write(found, wanted)
        tool = found.tools[_SDBOOTUTIL]
        argv = (tool, "update-all-entries")
        mine = _of_this_snapshot(entries(found))
        is_said = all(
            kernel_cmdline.is_satisfied(e.words, wanted) for e in mine
        )
        run = Run(
            mkconfig.MENU,
            argv,
            tuple(entry.path for entry in mine),
            argv,
            not is_said or mkconfig.is_change(change),
        )
        # Its images are on the boot partition, and it alone makes them.
        images = (tool, "mkinitrd")
        return BootPlan(
            (change, run),
            notes,
            (Run("images", images, undo=images, is_needed=False),),
        )


def _has_entries(found: Installation) -> bool:
    return _SDBOOTUTIL in found.tools and bool(entries(found))


def _of_this_snapshot(found: Sequence[Entry]) -> tuple[Entry, ...]:
    """Entries of the newest snapshot, or of none: older ones stay."""
    numbers = {entry.path: _number(entry) for entry in found}
    newest = max((n for n in numbers.values() if n is not None), default=None)
    return tuple(e for e in found if numbers[e.path] in (None, newest))


def _number(entry: Entry) -> int | None:
    match = _SNAPSHOT.match(entry.version)
    return int(match[1]) if match else None
