"""Whether the host itself needs a function: for disks, network or console.

A verdict on a group asks so, and so does what starts a guest, whatever the
ledger has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import (
    PCI_STUB,
    Function,
    PhysicalFunction,
    VirtualFunction,
)
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


def unspared(
    members: Iterable[Member],
    facts: HostFacts,
    down: frozenset[Address] = frozenset(),
) -> dict[Address, str]:
    """Return why the host cannot spare functions now, by their address.

    What a VFIO driver has is no longer the host's: a guest may use it, or
    the operator gave it up.  A virtual function that waits for a guest on the
    host's driver gets an address, and with it a route, from any DHCP client.

    :param members: with details.
    :param down: functions whose network interfaces are all down.
    """
    reasons = {}
    for member in members:
        if not member.role.is_assigned:
            continue
        reason = next(iter(_lasting_uses(member, facts)), "")
        if not reason and not _is_given_up(member, down):
            reason = doubt(member, facts)
        if not reason and member.is_on_vfio is not True:
            reason = console(member, facts)
        if reason:
            reasons[member.address] = reason
    return reasons


def _lasting_uses(member: Member, facts: HostFacts) -> tuple[str, ...]:
    role = member.detail.sriov if member.detail else MISSING
    if isinstance(role, VirtualFunction) and not isinstance(
        facts.uses, Unknown
    ):
        lasting = tuple(use for use in facts.uses if not use.is_route)
        facts = facts._replace(uses=lasting)
    return uses(member, facts)


def _is_given_up(member: Member, down: frozenset[Address]) -> bool:
    """Return whether a function is known to carry nothing of the host's.

    A physical function carries what its virtual ones carry, whatever driver
    it is on.
    """
    role = member.detail.sriov if member.detail else MISSING
    if isinstance(role, Unknown) or (
        isinstance(role, PhysicalFunction) and role.enabled_vfs
    ):
        return False
    return (
        member.function.driver in (None, PCI_STUB)
        or member.is_on_vfio is True
        or member.address in down
    )


def uses(member: Member, facts: HostFacts) -> tuple[str, ...]:
    """Return what the host is known to use a function for, a line each."""
    if isinstance(facts.uses, Unknown):
        return ()
    return tuple(
        f"the host needs {member.address} for {use.description}"
        for use in facts.uses
        if use.address == member.address
    )


def doubt(member: Member, facts: HostFacts) -> str:
    """Return why the host may use a function; "" if its uses are known."""
    if not isinstance(facts.uses, Unknown):
        return ""
    if not member.function.may_carry_host:
        return ""
    return (
        f"{member.address} may carry the host's disks or network: which"
        f" functions these use is unknown ({facts.uses})"
    )


def console(member: Member, facts: HostFacts) -> str:
    """Return why an operator needs a display; "" if none does."""
    if is_bmc(member.function):
        return f"{member.address} is the BMC display (remote console)"
    if _is_only_console(member, facts):
        return _description(member, facts)
    return ""


def is_bmc(function: Function) -> bool:
    """Return whether it is a management controller's display, by its ids."""
    return (function.vendor_id, function.product_id) in _BMC_DISPLAYS


def _description(member: Member, facts: HostFacts) -> str:
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


def _is_only_console(member: Member, facts: HostFacts) -> bool:
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
