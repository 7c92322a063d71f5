"""GRUB 2 on CentOS 7, Arch and others: one defaults file, and a generator."""

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
from gpu_passthrough_plugin.model.installation import Installation, Reads

_TOOLS = ("grub2-mkconfig", "grub-mkconfig")
_MENUS = ("/boot/grub2/grub.cfg", "/boot/grub/grub.cfg")
# Vendors' folders on the EFI system partition hold a grub.cfg each.
_EFI = "/boot/efi/EFI"


class Grub2(BootloaderDriver):
    """Arguments are in /etc/default/grub, and the menu where GRUB is."""

    name = "grub2"
    precedence = 70
    reads = grub_defaults.READS | Reads(
        files=(*_MENUS, f"{_EFI}/*/grub.cfg"), tools=_TOOLS
    )

    def claims(self, installation: Installation) -> str | None:
        tool = next((t for t in _TOOLS if t in installation.tools), None)
        if tool is None or grub_defaults.PATH not in installation.files:
            return None
        return f"{installation.tools[tool]} and {grub_defaults.PATH} exist"

    def configured(self, installation: Installation) -> ConfiguredArguments:
        files = grub_defaults.files(installation, has_drop_ins=False)
        return grub_config.configured(
            installation, files, known_menu(installation)
        )

    def plan(
        self, installation: Installation, requirements: Requirements
    ) -> BootloaderPlan:
        path = menu(installation)
        if grub_menu.has_loader_entries(installation.text(path) or ""):
            raise errors.Refused(
                f"{path} takes its entries from /boot/loader/entries, which"
                f" {_TOOLS[0]} does not write and grubby does: install"
                " grubby, then run this again"
            )
        return edit(installation, requirements, path)


def edit(
    installation: Installation, requirements: Requirements, menu: str
) -> BootloaderPlan:
    """Return what edits /etc/default/grub and makes the menu from it.

    :param menu: path of the menu.
    """
    argv = (grub_config.tool(installation, *_TOOLS),)
    plan = grub_config.edit_defaults(installation, requirements)
    run = grub_config.generate_menu(
        installation, plan.changes, argv, menu, requirements
    )
    return plan._replace(changes=(*plan.changes, run))


def known_menu(installation: Installation) -> str | None:
    """Return the path of the menu that GRUB reads; None if not known."""
    try:
        return menu(installation)
    except errors.Refused:
        return None


def menu(installation: Installation) -> str:
    """Return the path of the menu that GRUB reads, which is never a stub.

    :raises Refused: when there is none, or several may be meant.
    """
    paths = (
        f"{_EFI}/{vendor}/grub.cfg" for vendor in installation.names(_EFI)
    )
    menus = [
        path
        for path in paths
        if grub_menu.is_menu(installation.text(path) or "")
    ]
    if installation.is_efi and len(menus) > 1:
        raise errors.Refused(
            "more than one GRUB menu on the EFI system partition:"
            f" {' and '.join(menus)}; remove the folder of the system that is"
            " not installed any more, then run this again"
        )
    if installation.is_efi and menus:
        return menus[0]
    for path in _MENUS:
        if path in installation.files:
            return path
    raise errors.Refused(
        f"no GRUB menu at {' or '.join(_MENUS)}; make the one that GRUB reads"
        f" with {_TOOLS[0]} -o, then run this again"
    )
