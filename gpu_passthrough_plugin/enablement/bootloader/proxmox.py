"""Proxmox: GRUB as Debian has it, or EFI system partitions of its own."""

from __future__ import annotations

from gpu_passthrough_plugin.enablement.bootloader import (
    debian,
    grub_config,
    kernel_cmdline_file,
)
from gpu_passthrough_plugin.enablement.driver import (
    Bootloader,
    BootPlan,
    Configured,
)
from gpu_passthrough_plugin.formats import grub_defaults
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Change, Run
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

_TOOL = "proxmox-boot-tool"
_UUIDS = "/etc/kernel/proxmox-boot-uuids"


class Proxmox(Bootloader):
    """With UUIDs listed, partitions are mounted only while it copies.

    Whether systemd-boot or GRUB is on them cannot be seen then, so that
    both are told: each reads its own file.

    Source: proxmox-kernel-helper, proxmox-boot-tool and zz-proxmox-boot.
    """

    name = "proxmox"
    precedence = 20
    reads = (
        debian.Debian.reads
        | kernel_cmdline_file.READS
        | Reads(files=(_UUIDS,), tools=(_TOOL, "bootctl"))
    )

    def claims(self, found: Installation) -> str | None:
        if _TOOL not in found.tools:
            return None
        if _is_copied(found):
            return f"{_UUIDS} lists partitions"
        return f"{found.tools[_TOOL]} is there"

    def configured(self, found: Installation) -> Configured:
        grub = debian.Debian().configured(found)
        if not _is_copied(found):
            return grub
        sources = dict(grub.sources)
        if kernel_cmdline_file.PATH in found.files:
            said = kernel_cmdline_file.said(found, is_first_line=True)
            sources[kernel_cmdline_file.PATH] = said
        return Configured(sources, {})

    def plan(self, found: Installation, wanted: Requirements) -> BootPlan:
        if not _is_copied(found):
            return debian.Debian().plan(found, wanted)
        changes: tuple[Change, ...] = ()
        notes: tuple[str, ...] = ()
        if _is_systemd_boot(found):
            change, notes = kernel_cmdline_file.write(
                found, wanted, is_first_line=True
            )
            changes = (change,)
        if grub_defaults.PATH in found.files:
            said = debian.edited(found, wanted)
            changes = (*changes, *said.changes)
            notes = tuple(dict.fromkeys((*notes, *said.notes)))
        argv = (found.tools[_TOOL], "refresh")
        run = Run(
            grub_config.MENU,
            argv,
            undo=argv,
            is_needed=any(map(grub_config.is_change, changes)),
        )
        return BootPlan((*changes, run), notes, (run,))


def _is_copied(found: Installation) -> bool:
    return bool((found.text(_UUIDS) or "").split())


def _is_systemd_boot(found: Installation) -> bool:
    """Whether systemd-boot may be what starts the kernels."""
    return found.is_efi and (
        kernel_cmdline_file.PATH in found.files or "bootctl" in found.tools
    )
