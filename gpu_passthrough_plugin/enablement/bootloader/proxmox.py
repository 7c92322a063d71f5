"""Proxmox: GRUB as on Debian, or EFI system partitions of its own."""

from __future__ import annotations

from gpu_passthrough_plugin.enablement.bootloader import (
    debian,
    kernel_cmdline_file,
)
from gpu_passthrough_plugin.enablement.driver import (
    STEP_MENU,
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import grub_defaults
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Change, Run, is_change
from gpu_passthrough_plugin.model.installation import Installation, Reads

_TOOL = "proxmox-boot-tool"
_UUIDS = "/etc/kernel/proxmox-boot-uuids"


class Proxmox(BootloaderDriver):
    """Where UUIDs are listed, proxmox-boot-tool copies to these partitions.

    They are mounted only meanwhile, so that nothing shows whether
    systemd-boot or GRUB is on them: the file of each is written.

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
        if _has_partitions(installation):
            return f"{_UUIDS} lists partitions"
        return f"{installation.tools[_TOOL]} exists"

    def configured(self, installation: Installation) -> ConfiguredArguments:
        grub = debian.Debian().configured(installation)
        if not _has_partitions(installation):
            return grub
        sources = dict(grub.sources)
        if kernel_cmdline_file.PATH in installation.files:
            sources[kernel_cmdline_file.PATH] = kernel_cmdline_file.arguments(
                installation, is_first_line_only=True
            )
        return ConfiguredArguments(sources, {})

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        if not _has_partitions(installation):
            return debian.Debian().plan(installation, requirements)
        changes: list[Change] = []
        notes: list[str] = []
        if _may_have_systemd_boot(installation):
            edited = kernel_cmdline_file.edit(
                installation, requirements, is_first_line_only=True
            )
            changes.append(edited.change)
            notes += edited.notes
        if grub_defaults.PATH in installation.files:
            grub = debian.edit_defaults(installation, requirements)
            changes += grub.changes
            notes += grub.notes
        argv = (installation.tools[_TOOL], "refresh")
        run = Run(
            STEP_MENU,
            argv,
            undo_argv=argv,
            is_needed=any(map(is_change, changes)),
        )
        return BootloaderPlan(
            (*changes, run), tuple(dict.fromkeys(notes)), (run,)
        )


def _has_partitions(installation: Installation) -> bool:
    return bool((installation.text(_UUIDS) or "").split())


def _may_have_systemd_boot(installation: Installation) -> bool:
    return installation.is_efi and (
        kernel_cmdline_file.PATH in installation.files
        or "bootctl" in installation.tools
    )
