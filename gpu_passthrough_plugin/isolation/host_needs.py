"""Which displays an operator needs to see the host."""

from __future__ import annotations

import re

from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import MISSING, Unknown

# Displays of management controllers.  Source: pci.ids, and the kernel's
# drivers mgag200, ast and hibmc (their PCI id tables).
_BMC_DISPLAYS = frozenset(
    {
        (0x102B, 0x0522),  # Matrox G200e (ServerEngines Pilot1)
        (0x102B, 0x0524),  # Matrox G200SE A
        (0x102B, 0x0530),  # Matrox G200EV
        (0x102B, 0x0532),  # Matrox G200eW (Nuvoton WPCM450)
        (0x102B, 0x0533),  # Matrox G200EH
        (0x102B, 0x0534),  # Matrox G200eR2
        (0x102B, 0x0536),  # Matrox G200EW3
        (0x102B, 0x0538),  # Matrox G200eH3
        (0x1A03, 0x2000),  # ASPEED graphics family
        (0x1A03, 0x2010),  # ASPEED AST1150 family's display
        (0x19E5, 0x1711),  # HiSilicon hibmc
    }
)

# tty0 and ttyN are on a display; ttyS0, hvc0, ttyAMA0 and others are not.
_VIRTUAL_TERMINAL = re.compile(r"tty[0-9]+")


def is_bmc(function: Function) -> bool:
    """Return whether it is a management controller's display, by its ids."""
    return (function.vendor_id, function.product_id) in _BMC_DISPLAYS


def description(member: Member, facts: HostFacts) -> str:
    """Return that it is the only console, or that this is not known."""
    detail = member.detail
    boot_vga = MISSING if detail is None else detail.boot_vga
    if isinstance(boot_vga, Unknown):
        return (
            f"whether {member.address} shows the host's only console is"
            f" unknown: boot_vga {boot_vga}"
        )
    if isinstance(facts.consoles, Unknown):
        return (
            f"{member.address} shows the host's console, and whether there is"
            f" another is unknown: {facts.consoles}"
        )
    if not boot_vga:
        return (
            f"{member.address} has a monitor, and may show the host's only"
            " console: such a display is not marked as the firmware's primary"
            " one before Linux 6.17"
        )
    return f"{member.address} shows the host's only console"


def is_only_console(member: Member, facts: HostFacts) -> bool:
    """Return whether passing it through leaves the host without a console.

    True for the firmware's primary display where the kernel has no
    console but virtual terminals, and where that is not known.  A display
    that is no VGA device has no mark of that before Linux 6.17: where a
    monitor is connected to it, it may be the primary one.
    """
    if member.detail is None or not member.function.is_display:
        return False
    boot_vga = member.detail.boot_vga
    may_be_primary = boot_vga is None and member.address in facts.monitors
    if not boot_vga and not may_be_primary:
        return False
    consoles = facts.consoles
    if isinstance(consoles, Unknown):
        return True
    return all(_VIRTUAL_TERMINAL.fullmatch(name) for name in consoles)
