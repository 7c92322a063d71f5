"""Proxmox: GRUB as Debian has it, or EFI system partitions of its own."""

from __future__ import annotations

from gpu_passthrough_plugin.enablement.bootloader import (
    debian,
    grub_config,
    kernel_cmdline_file,
)
from gpu_passthrough_plugin.enablement.driver import (
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import grub_defaults
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Change, Run
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

_TOOL = "proxmox-boot-tool"
_UUIDS = "/etc/kernel/proxmox-boot-uuids"


class Proxmox(BootloaderDriver):
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

    def claims(self, installation: Installation) -> str | None:
        if _TOOL not in installation.tools:
            return None
        if _is_copied(installation):
            return f"{_UUIDS} lists partitions"
        return f"{installation.tools[_TOOL]} is there"

    def configured(self, installation: Installation) -> ConfiguredArguments:
        grub = debian.Debian().configured(installation)
        if not _is_copied(installation):
            return grub
        sources = dict(grub.sources)
        if kernel_cmdline_file.PATH in installation.files:
            said = kernel_cmdline_file.said(installation, is_first_line=True)
            sources[kernel_cmdline_file.PATH] = said
        return ConfiguredArguments(sources, {})

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        if not _is_copied(installation):
            return debian.Debian().plan(installation, requirements)
        changes: tuple[Change, ...] = ()
        notes: tuple[str, ...] = ()
        if _is_systemd_boot(installation):
            change, notes = kernel_cmdline_file.write(
                installation, requirements, is_first_line=True
            )
            changes = (change,)
        if grub_defaults.PATH in installation.files:
            said = debian.edited(installation, requirements)
            changes = (*changes, *said.changes)
            notes = tuple(dict.fromkeys((*notes, *said.notes)))
        argv = (installation.tools[_TOOL], "refresh")
        run = Run(
            grub_config.MENU,
            argv,
            undo=argv,
            is_needed=any(map(grub_config.is_change, changes)),
        )
        return BootloaderPlan((*changes, run), notes, (run,))


def _is_copied(installation: Installation) -> bool:
    return bool((installation.text(_UUIDS) or "").split())


def _is_systemd_boot(installation: Installation) -> bool:
    """Whether systemd-boot may be what starts the kernels."""
    return installation.is_efi and (
        kernel_cmdline_file.PATH in installation.files
        or "bootctl" in installation.tools
    )
