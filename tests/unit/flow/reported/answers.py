"""What the product says of a host, as text to look into.

As ``group show``, ``host check``, ``host verify`` and ``host enable
--dry-run`` say it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.conf.enablement import Enablement as Settings
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.flow import (
    enablement,
    host_snapshot,
    verification,
)
from gpu_passthrough_plugin.flow.enablement import BootContext, EnableOptions
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.flow.verification import BootEvidence, Names
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import address, selector
from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.change_history import Enablement, Target
from gpu_passthrough_plugin.model.finding import Finding
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.reading import MISSING
from tests.trees.host import Host

# The product's own default of [discovery] select.
DEFAULT = Policy(
    (selector.parse("class=03"), selector.parse("class=12")),
)
_SETTINGS = Settings(None, None, None, "address", False, False, ())


def select(*texts: str) -> Policy:
    """A policy that selects these and nothing else."""
    return Policy(tuple(map(selector.parse, texts)))


def groups(host: Host, policy: Policy = DEFAULT) -> dict[str, Group]:
    """The group of each function, by its address without the domain 0000."""
    snapshot = host_snapshot.read(host.tree(), policy, Scope.ALL)
    return {
        str(member.address).removeprefix("0000:"): group
        for group in snapshot.groups()
        for member in group.members
    }


def verdict(host: Host, place: str, policy: Policy = DEFAULT) -> str:
    """Whether a function's group is assignable, its reasons and notes."""
    verdict = groups(host, policy)[place].verdict
    lines = ["assignable" if verdict.is_assignable else "blocked"]
    lines += [f"{r.rule}: {r.text}; {r.remedy}" for r in verdict.reasons]
    return "\n".join((*lines, *verdict.notes))


def checked(host: Host, policy: Policy = DEFAULT) -> dict[str, Finding]:
    """The findings of ``host check`` by name, without services."""
    evidence = BootEvidence(MISSING, None, lambda _, __: MISSING)
    return {
        finding.check: finding
        for finding in verification.check_host(
            host.tree(), policy, (), lambda: evidence
        )
    }


def verified(
    host: Host,
    *,
    log: Sequence[str] = (),
    policy: Policy = DEFAULT,
    enabled: Enablement | None = None,
    image: Names = MISSING,
) -> dict[str, Verified]:
    """The rows of ``host verify``, by address without the domain 0000.

    :param log: messages of the kernel, without times.
    :param image: names in the running kernel's initramfs.
    :raises Refused: when no function can be on vfio-pci.
    """
    evidence = BootEvidence(tuple(log), enabled, lambda _, __: image)
    rows = verification.verify_host(host.tree(), policy, evidence)
    return {str(row.address).removeprefix("0000:"): row for row in rows}


def enabled(*lines: str, **drivers: str) -> Enablement:
    """What ``host enable`` was run for, by address: ``03:00.0 10de:2484``."""
    targets = []
    for line in lines:
        place, ids = line.split()
        vendor, product = (int(number, 16) for number in ids.split(":"))
        is_first = place.endswith(".0")
        whole = place if place.count(":") == 2 else f"0000:{place}"
        code = 0x030000 if is_first else 0x040300
        targets.append(
            Target(address.parse(whole), vendor, product, code, is_first)
        )
    return Enablement(tuple(targets), "address", (), "", drivers)


def everything(
    host: Host,
    *,
    log: Sequence[str] = (),
    policy: Policy = DEFAULT,
    enabled: Enablement | None = None,
) -> str:
    """All that the commands say of a host, for what they must never say."""
    try:
        rows = verified(host, log=log, policy=policy, enabled=enabled)
        lines = [f"{place} {told(row)}" for place, row in rows.items()]
    except errors.Refused as error:
        lines = [f"refused: {error}"]
    lines += (
        f"{finding.check} {finding.status} {finding.detail} {finding.remedy}"
        for finding in checked(host, policy).values()
    )
    snapshot = host_snapshot.read(host.tree(), policy)
    for group in snapshot.groups():
        if group.primaries:
            lines += (f"{r.text}; {r.remedy}" for r in group.verdict.reasons)
            lines += group.verdict.notes
    return "\n".join((*lines, planned(host, policy=policy)))


def told(row: Verified) -> str:
    """A row's status, and a line for each cause with evidence and fix."""
    causes = (
        f"{c.name} [{c.confidence}] {c.text} | {c.evidence} | {c.fix}"
        for c in row.causes
    )
    return "\n".join((f"{row.status} {row.found}", *causes))


def planned(
    host: Host,
    *,
    policy: Policy = DEFAULT,
    options: EnableOptions | None = None,
) -> str:
    """Notes and changes of ``host enable --dry-run``, or its refusal."""
    context = BootContext(
        host.tree(), policy, _SETTINGS, None, None, contextlib.nullcontext,
        print,
    )  # fmt: skip
    try:
        plan = enablement.plan_enable(context, options or EnableOptions())
    except errors.Error as error:
        return f"refused: {error}"
    changes = (
        f"{change.path}: {(change.becomes or b'').decode()}"
        if isinstance(change, Write)
        else str(change)
        for change in plan.changes
    )
    return "\n".join((*plan.notes, *changes))
