"""GRUB 2 as CentOS 7 and others have it: one file, and a generator."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import grub_config
from gpu_passthrough_plugin.enablement.driver import (
    BootloaderDriver,
    BootloaderPlan,
    ConfiguredArguments,
)
from gpu_passthrough_plugin.formats import grub_defaults, grub_menu
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

_TOOLS = ("grub2-mkconfig", "grub-mkconfig")
_MENUS = ("/boot/grub2/grub.cfg", "/boot/grub/grub.cfg")
_EFI = "/boot/efi/EFI"


class Grub2(BootloaderDriver):
    """Arguments are in /etc/default/grub, and the menu is where GRUB is."""

    name = "grub2"
    precedence = 70
    reads = grub_defaults.READS | Reads(
        files=(*_MENUS, f"{_EFI}/*/grub.cfg"), tools=_TOOLS
    )

    def claims(self, installation: Installation) -> str | None:
        tool = next((t for t in _TOOLS if t in installation.tools), None)
        if tool is None or grub_defaults.PATH not in installation.files:
            return None
        return f"{installation.tools[tool]} and {grub_defaults.PATH} are there"

    def configured(self, installation: Installation) -> ConfiguredArguments:
        files = grub_defaults.files(installation, has_drop_ins=False)
        return grub_config.configured(
            installation, files, read_menu(installation)
        )

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        path = output(installation)
        if grub_menu.has_loader_entries(installation.text(path) or ""):
            raise errors.Refused(
                f"{path} takes its entries from /boot/loader/entries, which"
                f" {_TOOLS[0]} does not write; wanted grubby for that: install"
                " it, and run this again"
            )
        return planned(installation, requirements, path)


def planned(
    installation: Installation, requirements: Requirements, path: str
) -> BootloaderPlan:
    """What edits /etc/default/grub and makes the menu at ``path`` of it."""
    argv = (grub_config.tool(installation, *_TOOLS),)
    said = grub_config.edited(installation, requirements)
    run = grub_config.generated(
        installation, said.changes, argv, path, requirements
    )
    return said._replace(changes=(*said.changes, run))


def read_menu(installation: Installation) -> str | None:
    """The menu that GRUB reads; None where that cannot be told."""
    try:
        return output(installation)
    except errors.Refused:
        return None


def output(installation: Installation) -> str:
    """The menu that GRUB reads, which is never a stub.

    :raises Refused: when there is none, or it cannot be told which.
    """
    paths = (
        f"{_EFI}/{vendor}/grub.cfg" for vendor in installation.names(_EFI)
    )
    menus = [p for p in paths if grub_menu.is_menu(installation.text(p) or "")]
    if installation.is_efi and len(menus) > 1:
        raise errors.Refused(
            f"{' and '.join(menus)} are menus; wanted one on the EFI system"
            " partition: remove the folder of the system that is no longer"
            " there, and run this again"
        )
    if installation.is_efi and menus:
        return menus[0]
    for path in _MENUS:
        if path in installation.files:
            return path
    raise errors.Refused(
        f"no menu at {' or '.join(_MENUS)}; wanted the one that GRUB reads:"
        f" make it with {_TOOLS[0]} -o, and run this again"
    )
