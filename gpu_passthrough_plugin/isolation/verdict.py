"""Whether a group can be passed through: a rule for each reason against it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.isolation import iommu
from gpu_passthrough_plugin.isolation.partition import Part, Policy
from gpu_passthrough_plugin.model.function import Function, Header, Physical
from gpu_passthrough_plugin.model.group import (
    Group,
    Member,
    Reason,
    Role,
    Verdict,
)
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import Unknown

# Base classes over which a host reaches its disks and networks: mass
# storage, network, serial bus (USB), wireless; 00 is what old devices and
# virtio's transitional ones say.  Source: PCI Code and ID Assignment 1.11.
_CARRIES_HOST = frozenset({0x00, 0x01, 0x02, 0x0C, 0x0D})


class Case(NamedTuple):
    """One group and all that a rule may look at.

    :param endpoints: the members that are not bridges.
    """

    part: Part
    endpoints: tuple[Member, ...]
    facts: HostFacts
    policy: Policy


def make_case(part: Part, facts: HostFacts, policy: Policy) -> Case:
    """Return what the rules look at, the endpoints found once for all."""
    endpoints = [m for m in part.members if m.role is not Role.BRIDGE]
    return Case(part, tuple(endpoints), facts, policy)


def no_iommu(case: Case) -> Iterator[Reason]:
    """Refuse a function in no group: nothing isolates it from the host."""
    if case.part.number is not None:
        return
    group = case.part.members[0].function.iommu_group
    if isinstance(group, Unknown):
        yield Reason(
            iommu.RULE,
            f"the IOMMU group of {case.part.members[0].address} is unknown:"
            f" {group}",
            iommu.AS_ROOT,
        )
        return
    yield iommu.absence(case.facts)


def strays(case: Case) -> Iterator[Reason]:
    """Refuse a group that may have another member: its group is unknown."""
    for address in case.part.strays:
        yield Reason(
            "incomplete",
            f"{address} may belong to this group: which group it is in is"
            " unknown",
            iommu.AS_ROOT,
        )


def no_primary(case: Case) -> Iterator[Reason]:
    """Refuse a group without a function that the operator selected."""
    if not case.part.has_primary:
        yield Reason(
            "no-primary",
            "not selected by [discovery] select",
            "add a member to [discovery] select to offer this group",
        )


def host_critical(case: Case) -> Iterator[Reason]:
    """Refuse a group that the host needs, whatever was selected."""
    uses = case.facts.uses
    for member in case.endpoints:
        if isinstance(uses, Unknown):
            if _may_carry_host(member):
                yield Reason(
                    "host-critical",
                    f"{member.address} may carry the host's disks or network:"
                    f" which functions these use is unknown ({uses})",
                    "run this on the host, or on a recording made with"
                    " 'gpu-passthrough host record'",
                )
            continue
        for use in uses:
            if use.address == member.address:
                over = f" over {', '.join(use.via)}" if use.via else ""
                yield Reason(
                    "host-critical",
                    f"the host needs {member.address} for {use.what}{over}",
                    "move that to another device first, or leave the group"
                    " to the host",
                )


def console(case: Case) -> Iterator[Reason]:
    """Refuse the only console, and a BMC's display: the remote console."""
    for member in case.endpoints:
        if is_bmc(member.function):
            yield Reason(
                "bmc-display",
                f"{member.address} is the BMC display (remote console)",
                "leave it to the host",
            )
        elif is_only_console(member, case.facts):
            yield Reason(
                "only-console",
                f"{member.address} shows the host's only console",
                "add a serial console (console=tty0 console=ttyS0), or select"
                " another primary display in the firmware setup",
            )


def dead(case: Case) -> Iterator[Reason]:
    """Refuse a member that does not respond, or whose state is unknown."""
    for member in case.endpoints:
        if member.detail is None:
            continue
        header = member.detail.header
        if header is Header.DEAD:
            yield Reason(
                "dead",
                f"{member.address} does not respond: its config space reads"
                " ff",
                "power-cycle the host; search the kernel log for D3cold or a"
                " failed reset",
            )
        elif isinstance(header, Unknown):
            yield Reason(
                "dead",
                f"whether {member.address} responds is unknown: config space"
                f" {header}",
                iommu.AS_ROOT,
            )


def identity(case: Case) -> Iterator[Reason]:
    """Refuse a member whose ids, class or driver could not be read."""
    for member in case.endpoints:
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
                    iommu.AS_ROOT,
                )


def sriov(case: Case) -> Iterator[Reason]:
    """Refuse a physical function whose virtual functions are enabled."""
    for member in case.endpoints:
        role = member.detail.sriov if member.detail else None
        if isinstance(role, Physical) and role.enabled_vfs:
            yield Reason(
                "sriov-enabled",
                f"{member.address} has {role.enabled_vfs} virtual functions"
                " enabled",
                f"write 0 to sriov_numvfs of {member.address}, or select the"
                " virtual functions instead",
            )
        elif isinstance(role, Unknown):
            yield Reason(
                "sriov-enabled",
                f"whether {member.address} has virtual functions enabled"
                f" is unknown: {role}",
                iommu.AS_ROOT,
            )


def outside_policy(case: Case) -> Iterator[Reason]:
    """Refuse a member that the operator excluded or did not select."""
    cards = {m.address.card for m in case.endpoints if m.role is Role.PRIMARY}
    for member in case.endpoints:
        if case.policy.is_excluded(member.function):
            yield Reason(
                "excluded",
                f"{member.address} is excluded by [discovery] exclude",
                f"remove {member.address} from [discovery] exclude to offer"
                " the group",
            )
        elif cards and member.address.card not in cards:
            yield Reason(
                "not-selected",
                f"{member.address} is in the group, but not on a selected"
                " card; the host would lose it",
                f"add {member.address} to [discovery] select to pass it"
                " through as well, or move the card to another slot",
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
    """Return whether it is a management controller's display, by its ids."""
    return (function.vendor_id, function.product_id) in _BMC_DISPLAYS


def is_only_console(member: Member, facts: HostFacts) -> bool:
    """Return whether passing it through leaves the host without a console.

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


def judge(part: Part, facts: HostFacts, policy: Policy) -> Group:
    """Return the group with its verdict: every reason, or else notes."""
    case = make_case(part, facts, policy)
    reasons = tuple(reason for rule in RULES for reason in rule(case))
    notes = () if reasons else tuple(_notes(case))
    return Group(part.number, part.members, Verdict(reasons, notes))


def _notes(case: Case) -> Iterator[str]:
    primaries = [m for m in case.endpoints if m.role is Role.PRIMARY]
    if len(primaries) > 1:
        yield (
            f"{len(primaries)} primaries share the group and are assigned"
            " together, as one unit"
        )
    for member in primaries:
        if isinstance(member.function.numa_node, Unknown):
            yield (
                f"the NUMA node of {member.address} is unknown:"
                f" {member.function.numa_node}"
            )


def judge_predicted(part: Part, facts: HostFacts, policy: Policy) -> Group:
    """Return the verdict on a group that the host will have.

    Without the reasons that an active IOMMU removes.
    """
    group = judge(part, facts, policy)
    reasons = tuple(
        reason for reason in group.verdict.reasons if reason.rule != iommu.RULE
    )
    return group._replace(verdict=Verdict(reasons, group.verdict.notes))
