"""GRUB on Debian and Ubuntu: a drop-in of its own, and update-grub."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.bootloader import grub2
from gpu_passthrough_plugin.enablement.driver import (
    STEP_ARGUMENTS,
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.enablement.own_files import OwnFile
from gpu_passthrough_plugin.formats import (
    grub_defaults,
    kernel_cmdline,
    os_release,
)
from gpu_passthrough_plugin.formats.grub_defaults import CMDLINE, DefaultsFile
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.change import Change
from gpu_passthrough_plugin.model.installation import Installation, Reads

MENU = "/boot/grub/grub.cfg"
DROP_IN = f"{grub_defaults.FOLDER}/90-gpu-passthrough.cfg"
_TOOL = "update-grub"


class Debian(BootloaderDriver):
    """Arguments are added by a drop-in, which appends to what others set.

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
        is_debian = os_release.is_like(installation, "debian", "ubuntu")
        if _TOOL not in installation.tools or not is_debian:
            return None
        tool = installation.tools[_TOOL]
        return f"{tool} exists, and the system is Debian or derived from it"

    def configured(self, installation: Installation) -> ConfiguredArguments:
        files = grub_defaults.files(installation, has_drop_ins=True)
        return grub2.configured(installation, files, MENU)

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        argv = (grub2.tool(installation, _TOOL),)
        plan = edit_defaults(installation, requirements)
        run = grub2.generate_menu(
            installation, plan.changes, argv, MENU, requirements
        )
        return plan._replace(changes=(*plan.changes, run))


def edit_defaults(
    installation: Installation, requirements: Requirements
) -> BootloaderPlan:
    """Return what corrects wrong arguments, and adds the rest in a drop-in.

    :raises Refused: when a file cannot be edited safely.
    """
    files = [
        file
        for file in grub_defaults.files(installation, has_drop_ins=True)
        if file.path != DROP_IN
    ]
    corrected = grub2.correct(files, requirements)
    text = _drop_in(
        kernel_cmdline.missing(
            grub2.command_lines(corrected.files).every, requirements
        )
    )
    drop_ins = [DefaultsFile(DROP_IN, text)] if text else []
    grub2.require_satisfied(
        _in_order((*corrected.files, *drop_ins)), requirements
    )
    changes: list[Change] = [
        grub2.write(before, after)
        for before, after in zip(files, corrected.files, strict=True)
        if before != after or before.path == grub_defaults.PATH
    ]
    changes += own_files.writes(
        installation, OwnFile(STEP_ARGUMENTS, DROP_IN, text)
    )
    return BootloaderPlan(tuple(changes), corrected.notes)


def _drop_in(missing: Sequence[str]) -> str | None:
    """Return a file that appends; None where there is nothing to append."""
    if not missing:
        return None
    words = " ".join(missing)
    return f'{own_files.HEADER}{CMDLINE}="${CMDLINE} {words}"\n'


def _in_order(files: Sequence[DefaultsFile]) -> list[DefaultsFile]:
    """Return the files as they are sourced: the main one, then by name."""
    return sorted(files, key=lambda f: (f.path != grub_defaults.PATH, f.path))
