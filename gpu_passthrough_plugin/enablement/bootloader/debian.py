"""GRUB as Debian and Ubuntu have it: drop-ins, and update-grub."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_passthrough_plugin.enablement.bootloader import grub_config
from gpu_passthrough_plugin.enablement.driver import (
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import (
    grub_defaults,
    kernel_cmdline,
    os_release,
)
from gpu_passthrough_plugin.formats.grub_defaults import DefaultsFile
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Change, Write
from gpu_passthrough_plugin.model.installation import Installation, encoded
from gpu_passthrough_plugin.model.reads import Reads

MENU = "/boot/grub/grub.cfg"
OURS = f"{grub_defaults.FOLDER}/90-gpu-passthrough.cfg"
_HEAD = "# Written by 'gpu-passthrough host enable'; 'host disable' undoes it."
_TOOL = "update-grub"


class Debian(BootloaderDriver):
    """Arguments are added by a file of our own, which appends.

    Source: Debian, grub-mkconfig, which sources /etc/default/grub and then
    /etc/default/grub.d/*.cfg.
    """

    name = "debian"
    precedence = 60
    reads = (
        os_release.READS
        | grub_defaults.READS
        | Reads(files=(MENU,), tools=(_TOOL,))
    )

    def claims(self, installation: Installation) -> str | None:
        if _TOOL in installation.tools and os_release.is_like(
            installation, "debian", "ubuntu"
        ):
            tool = installation.tools[_TOOL]
            return f"{tool} is there, and the system is Debian's"
        return None

    def configured(self, installation: Installation) -> ConfiguredArguments:
        files = grub_defaults.files(installation, has_drop_ins=True)
        return grub_config.configured(installation, files, MENU)

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        argv = (grub_config.tool(installation, _TOOL),)
        said = edited(installation, requirements)
        run = grub_config.generated(
            installation, said.changes, argv, MENU, requirements
        )
        return said._replace(changes=(*said.changes, run))


def edited(
    installation: Installation, requirements: Requirements
) -> BootloaderPlan:
    """Wrong words put right where they stand, and the rest in a drop-in.

    :raises Refused: when a file cannot be edited safely.
    """
    every = grub_defaults.files(installation, has_drop_ins=True)
    files = [file for file in every if file.path != OURS]
    fixed = grub_config.corrected(files, requirements)
    missing = kernel_cmdline.missing(
        grub_config.command_lines(fixed.files).every, requirements
    )
    ours = _drop_in(missing)
    after = [*fixed.files, *([DefaultsFile(OURS, ours)] if ours else [])]
    grub_config.verified(_ordered(after), requirements)
    changes: list[Change] = [
        grub_config.write(before, now)
        for before, now in zip(files, fixed.files, strict=True)
        if before != now or before.path == grub_defaults.PATH
    ]
    was = installation.content(OURS)
    if ours or was is not None:
        becomes = encoded(ours) if ours else None
        changes.append(Write(grub_config.ARGUMENTS, OURS, was, becomes))
    return BootloaderPlan(tuple(changes), fixed.notes)


def _drop_in(missing: Sequence[str]) -> str:
    """A file that appends; empty when there is nothing to append."""
    if not missing:
        return ""
    name = grub_defaults.CMDLINE
    return f'{_HEAD}\n{name}="${name} {" ".join(missing)}"\n'


def _ordered(files: Sequence[DefaultsFile]) -> list[DefaultsFile]:
    """As the shell sources them: the main one first, the rest by name."""
    return sorted(files, key=lambda f: (f.path != grub_defaults.PATH, f.path))
