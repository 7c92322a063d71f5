"""GRUB 2 as CentOS 7 and others have it: one file, and a generator."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader import grub_config
from gpu_passthrough_plugin.enablement.driver import (
    Bootloader,
    BootPlan,
    Configured,
)
from gpu_passthrough_plugin.formats import grub_defaults, grub_menu
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

_TOOLS = ("grub2-mkconfig", "grub-mkconfig")
_MENUS = ("/boot/grub2/grub.cfg", "/boot/grub/grub.cfg")
_EFI = "/boot/efi/EFI"


class Grub2(Bootloader):
    """Arguments are in /etc/default/grub, and the menu is where GRUB is."""

    name = "grub2"
    precedence = 70
    reads = grub_defaults.READS | Reads(
        files=(*_MENUS, f"{_EFI}/*/grub.cfg"), tools=_TOOLS
    )

    def claims(self, found: Installation) -> str | None:
        tool = next((t for t in _TOOLS if t in found.tools), None)
        if tool is None or grub_defaults.PATH not in found.files:
            return None
        return f"{found.tools[tool]} and {grub_defaults.PATH} are there"

    def configured(self, found: Installation) -> Configured:
        files = grub_defaults.files(found, has_drop_ins=False)
        return grub_config.configured(found, files, read_menu(found))

    def plan(self, found: Installation, wanted: Requirements) -> BootPlan:
        path = output(found)
        if grub_menu.has_loader_entries(found.text(path) or ""):
            raise errors.Refused(
                f"{path} takes its entries from /boot/loader/entries, which"
                f" {_TOOLS[0]} does not write; wanted grubby for that: install"
                " it, and run this again"
            )
        return planned(found, wanted, path)


def planned(found: Installation, wanted: Requirements, path: str) -> BootPlan:
    """What edits /etc/default/grub and makes the menu at ``path`` of it."""
    argv = (grub_config.tool(found, *_TOOLS),)
    said = grub_config.edited(found, wanted)
    run = grub_config.generated(found, said.changes, argv, path, wanted)
    return said._replace(changes=(*said.changes, run))


def read_menu(found: Installation) -> str | None:
    """The menu that GRUB reads; None where that cannot be told."""
    try:
        return output(found)
    except errors.Refused:
        return None


def output(found: Installation) -> str:
    """The menu that GRUB reads, which is never a stub.

    :raises Refused: when there is none, or it cannot be told which.
    """
    paths = (f"{_EFI}/{vendor}/grub.cfg" for vendor in found.names(_EFI))
    menus = [p for p in paths if grub_menu.is_menu(found.text(p) or "")]
    if found.is_efi and len(menus) > 1:
        raise errors.Refused(
            f"{' and '.join(menus)} are menus; wanted one on the EFI system"
            " partition: remove the folder of the system that is no longer"
            " there, and run this again"
        )
    if found.is_efi and menus:
        return menus[0]
    for path in _MENUS:
        if path in found.files:
            return path
    raise errors.Refused(
        f"no menu at {' or '.join(_MENUS)}; wanted the one that GRUB reads:"
        f" make it with {_TOOLS[0]} -o, and run this again"
    )
