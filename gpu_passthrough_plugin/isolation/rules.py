"""What speaks against handing a group out: one rule a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.isolation import iommu
from gpu_passthrough_plugin.isolation.partition import Part, Policy
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.function import Function, Header, Physical
from gpu_passthrough_plugin.model.group import Member, Reason, Role
from gpu_passthrough_plugin.model.reading import Unknown

# Base classes over which a host reaches its disks and networks: mass
# storage, network, serial bus (USB), wireless; 00 is what old devices and
# virtio's transitional ones say.  Source: PCI Code and ID Assignment 1.11.
_CARRIES_HOST = frozenset({0x00, 0x01, 0x02, 0x0C, 0x0D})


class Case(NamedTuple):
    """One part and all that its judgement may look at.

    :param endpoints: the part's members that are no bridges.
    """

    part: Part
    endpoints: tuple[Member, ...]
    facts: HostFacts
    policy: Policy


def case(part: Part, facts: HostFacts, policy: Policy) -> Case:
    """What the rules look at; the endpoints are found once for all."""
    endpoints = [m for m in part.members if m.role is not Role.BRIDGE]
    return Case(part, tuple(endpoints), facts, policy)


def no_iommu(of: Case) -> Iterator[Reason]:
    """In no group: nothing isolates it from the rest of the host."""
    if of.part.number is not None:
        return
    group = of.part.members[0].function.iommu_group
    if isinstance(group, Unknown):
        yield Reason(
            iommu.RULE,
            f"its IOMMU group is unknown: {group}",
            "run this as root on the host itself",
        )
        return
    yield iommu.absence(of.facts)


def strays(of: Case) -> Iterator[Reason]:
    """Another function may be a member: nobody could read of which."""
    for address in of.part.strays:
        yield Reason(
            "incomplete",
            f"{address} may be in this group: its own is unknown",
            "run this as root on the host itself",
        )


def no_primary(of: Case) -> Iterator[Reason]:
    """Nothing in it that an operator asks for."""
    if not of.part.has_primary:
        yield Reason(
            "no-primary",
            "no member is selected",
            "name one in [discovery] select to hand this group out",
        )


def host_critical(of: Case) -> Iterator[Reason]:
    """The host itself lives on a member: whatever was selected."""
    uses = of.facts.uses
    for member in of.endpoints:
        if isinstance(uses, Unknown):
            if _may_carry_host(member):
                yield Reason(
                    "host-critical",
                    f"{member.address} may carry the host's disks or"
                    f" network: what it uses is unknown ({uses})",
                    "run this on the host itself, or record it with"
                    " 'gpu-passthrough host record'",
                )
            continue
        for use in uses:
            if use.address == member.address:
                over = f" over {', '.join(use.via)}" if use.via else ""
                yield Reason(
                    "host-critical",
                    f"the host needs {member.address} for {use.what}{over}",
                    "move that off the device first, or leave the group"
                    " to the host",
                )


def console(of: Case) -> Iterator[Reason]:
    """The only console, or a BMC's display, which is its remote console."""
    for member in of.endpoints:
        if is_bmc(member.function):
            yield Reason(
                "bmc-display",
                f"{member.address} is the display of the host's"
                " management controller",
                "leave it to the host; it is the remote console",
            )
        elif is_only_console(member, of.facts):
            yield Reason(
                "only-console",
                f"{member.address} shows the host's only console",
                "add a serial console (console=tty0 console=ttyS0) or make"
                " another display the firmware's primary",
            )


def dead(of: Case) -> Iterator[Reason]:
    """A member that does not answer, or whose answer is not known."""
    for member in of.endpoints:
        if member.detail is None:
            continue
        header = member.detail.header
        if header is Header.DEAD:
            yield Reason(
                "dead",
                f"{member.address} does not answer: its config space reads ff",
                "power-cycle the host; look for D3cold or a failed reset in"
                " the kernel's log",
            )
        elif isinstance(header, Unknown):
            yield Reason(
                "dead",
                f"whether {member.address} answers is unknown: config"
                f" space {header}",
                "run this as root on the host itself",
            )


def identity(of: Case) -> Iterator[Reason]:
    """A member whose ids or class could not be read."""
    for member in of.endpoints:
        function = member.function
        for name, value in (
            ("vendor id", function.vendor_id),
            ("product id", function.product_id),
            ("class", function.class_code),
            ("driver", function.driver),
        ):
            if isinstance(value, Unknown):
                yield Reason(
                    "identity",
                    f"the {name} of {member.address} is unknown: {value}",
                    "run this as root on the host itself",
                )


def sriov(of: Case) -> Iterator[Reason]:
    """A physical function whose virtual functions are in use."""
    for member in of.endpoints:
        role = member.detail.sriov if member.detail else None
        if isinstance(role, Physical) and role.enabled_vfs:
            yield Reason(
                "sriov-enabled",
                f"{member.address} has {role.enabled_vfs} virtual functions"
                " enabled",
                "write 0 to its sriov_numvfs, or hand out the virtual"
                " functions instead",
            )
        elif isinstance(role, Unknown):
            yield Reason(
                "sriov-enabled",
                f"whether {member.address} has virtual functions enabled"
                f" is unknown: {role}",
                "run this as root on the host itself",
            )


def outside_policy(of: Case) -> Iterator[Reason]:
    """A member that the operator did not mean to hand out."""
    cards = {m.address.card for m in of.endpoints if m.role is Role.PRIMARY}
    for member in of.endpoints:
        if of.policy.is_excluded(member.function):
            yield Reason(
                "excluded",
                f"{member.address} is excluded by [discovery] exclude",
                "take it out of exclude to hand the group out",
            )
        elif cards and member.address.card not in cards:
            yield Reason(
                "not-selected",
                f"{member.address} is on no selected card, and would leave"
                " the host with the group",
                "name it in [discovery] select to let it go along, or move"
                " the card to another slot",
            )


def _may_carry_host(member: Member) -> bool:
    code = member.function.class_code
    return isinstance(code, Unknown) or code >> 16 in _CARRIES_HOST


RULES: tuple[Callable[[Case], Iterator[Reason]], ...] = (
    no_iommu,
    strays,
    no_primary,
    host_critical,
    console,
    dead,
    identity,
    sriov,
    outside_policy,
)


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
    """Whether it is the display of a management controller, by its ids."""
    return (function.vendor_id, function.product_id) in _BMC_DISPLAYS


def is_only_console(member: Member, facts: HostFacts) -> bool:
    """Whether the host would be left without a console.

    True for the firmware's primary display where the kernel has no
    console but virtual terminals, and where that is not known.
    """
    if member.detail is None or not member.function.is_display:
        return False
    boot_vga = member.detail.boot_vga
    if not boot_vga:
        return False
    consoles = facts.consoles
    if isinstance(consoles, Unknown):
        return True
    return all(_VIRTUAL_TERMINAL.fullmatch(name) for name in consoles)
