"""Is each target function on vfio-pci, and if not, why."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.causes.catalogue import causes
from gpu_passthrough_plugin.diagnosis.causes.vfio_selection import (
    configured_ids,
)
from gpu_passthrough_plugin.diagnosis.evidence import (
    Case,
    Cause,
    Confidence,
    Evidence,
)
from gpu_passthrough_plugin.formats.vfio_pci_ids import IdList
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import MISSING, Unknown

EXPECTED = "vfio-pci"

# A function with one of these fails, whichever driver has it.
_UNUSABLE = frozenset({"gone", "moved", "dead", "no-iommu-group", "rmrr"})


class Verified(NamedTuple):
    """One function's expected and actual state.

    :param expected: the driver that should have it, ``vfio-pci``.
    :param found: its driver, ``none``, ``gone`` or ``unknown: …``.
    :param iommu_group: None where it is in no group.
    :param causes: ranked, the first first; a function that passes may have
        causes that are only possible.
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
    """Return the functions that should be on vfio-pci, by address.

    :param chosen: the selection, for a host where ``host enable`` was not
        run; elsewhere what it was run for counts.
    """
    enablement = evidence.enablement
    targets = chosen if enablement is None else enablement.targets
    return tuple(sorted(targets, key=lambda target: target.address))


def intended(evidence: Evidence) -> tuple[Member, ...]:
    """Return the functions intended for vfio-pci, by address.

    Those that a VFIO driver has, that driver_override gives to one, and
    that an ``ids=`` of vfio-pci names.
    """
    is_named = functools.cache(
        functools.partial(_is_named, configured_ids(evidence))
    )
    return tuple(
        member
        for member in evidence.members
        if member.role.is_assigned
        and (
            member.is_on_vfio is True
            or _is_pinned(evidence, member)
            or is_named(member.function.vendor_id, member.function.product_id)
        )
    )


def _is_pinned(evidence: Evidence, member: Member) -> bool:
    override = None if member.detail is None else member.detail.driver_override
    return isinstance(override, str) and (
        override == EXPECTED
        or override.replace("-", "_") in evidence.vfio_drivers
    )


def _is_named(
    id_lists: Sequence[IdList], vendor: int | Unknown, product: int | Unknown
) -> bool:
    if isinstance(vendor, Unknown) or isinstance(product, Unknown):
        return False
    ids = f"{vendor:04x}:{product:04x}"
    return any(id_list.covers(ids) for id_list in id_lists)


def findings(
    evidence: Evidence, targets: Sequence[Target]
) -> tuple[Verified, ...]:
    """Return one row for each target, with every cause that applies."""
    members = {m.address: m for m in evidence.members}
    cases = (
        Case(t, members.get(t.address), evidence, tuple(targets))
        for t in targets
    )
    return tuple(map(verified, cases))


def verified(case: Case) -> Verified:
    """Return the row of one function."""
    function, detail = case.function, case.detail
    ranked = causes(case)
    return Verified(
        address=case.target.address,
        expected=EXPECTED,
        found=_driver_text(case),
        status=_status(case, ranked),
        iommu_group=MISSING if function is None else function.iommu_group,
        reset_methods=MISSING if detail is None else detail.reset_methods,
        causes=ranked,
    )


def _driver_text(case: Case) -> str:
    function = case.function
    if function is None:
        return "gone"
    driver = function.driver
    if isinstance(driver, Unknown):
        return f"unknown: {driver}"
    return driver or "none"


def _status(case: Case, ranked: Sequence[Cause]) -> Status:
    """Return pass for a function on VFIO, in a group, with no likely cause."""
    member = case.member
    likely = [c for c in ranked if c.confidence is not Confidence.POSSIBLE]
    if member is None or _UNUSABLE & {c.name for c in likely}:
        return Status.FAIL
    group = member.function.iommu_group
    if isinstance(member.is_on_vfio, Unknown):
        return Status.WARN
    if not member.is_on_vfio or group is None:
        return Status.FAIL
    if isinstance(group, Unknown) or likely:
        return Status.WARN
    return Status.PASS
