"""Whether each function is where it should be, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.causes.catalogue import causes
from gpu_passthrough_plugin.diagnosis.evidence import (
    Case,
    Cause,
    Confidence,
    Evidence,
)
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.reading import MISSING, Unknown

EXPECTED = "vfio-pci"

# With these a function is lost, whichever driver has it.
_LOST = frozenset({"gone", "moved", "dead"})


class Verified(NamedTuple):
    """One function: what was expected of it, and what was found.

    :param found: its driver; ``none``, ``gone`` or ``unknown: …``.
    :param iommu_group: None where it is in none.
    :param causes: ranked, the first first; a function that passes may have
        some that nothing has come of.
    """

    address: Address
    expected: str
    found: str
    status: Status
    iommu_group: int | Unknown | None
    reset_methods: tuple[str, ...] | Unknown
    causes: tuple[Cause, ...]


def expected(
    evidence: Evidence, chosen: Sequence[Target]
) -> tuple[Target, ...]:
    """What ``host enable`` was run for, by address.

    :param chosen: the caller's own, for a host where it was not.
    """
    enablement = evidence.enablement
    targets = chosen if enablement is None else enablement.targets
    return tuple(sorted(targets, key=lambda target: target.address))


def findings(
    evidence: Evidence, targets: Sequence[Target]
) -> tuple[Verified, ...]:
    """A finding for each function that is expected on vfio-pci."""
    members = {m.address: m for m in evidence.members}
    cases = (
        Case(t, members.get(t.address), evidence, tuple(targets))
        for t in targets
    )
    return tuple(map(verified, cases))


def verified(case: Case) -> Verified:
    """One function, with every cause that applies."""
    function, detail = case.function, case.detail
    found = causes(case)
    return Verified(
        address=case.target.address,
        expected=EXPECTED,
        found=_found(case),
        status=_status(case, found),
        iommu_group=MISSING if function is None else function.iommu_group,
        reset_methods=MISSING if detail is None else detail.reset_methods,
        causes=found,
    )


def _found(case: Case) -> str:
    function = case.function
    if function is None:
        return "gone"
    driver = function.driver
    if isinstance(driver, Unknown):
        return f"unknown: {driver}"
    return driver or "none"


def _status(case: Case, found: Sequence[Cause]) -> Status:
    """Right driver and in a group is a pass, unless something was seen."""
    member = case.member
    sure = [c for c in found if c.confidence is not Confidence.POSSIBLE]
    if member is None or _LOST & {c.name for c in sure}:
        return Status.FAIL
    group = member.function.iommu_group
    if isinstance(member.is_on_vfio, Unknown):
        return Status.WARN
    if not member.is_on_vfio or group is None:
        return Status.FAIL
    if isinstance(group, Unknown) or sure:
        return Status.WARN
    return Status.PASS
