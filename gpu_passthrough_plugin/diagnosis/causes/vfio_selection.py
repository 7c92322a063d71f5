"""What is to send the function to vfio-pci: ids or an override."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import (
    Case,
    Cause,
    Confidence,
    Evidence,
)
from gpu_passthrough_plugin.diagnosis.reboot import is_same_boot
from gpu_passthrough_plugin.formats import kernel_log, modprobe, vfio_pci_ids
from gpu_passthrough_plugin.formats.vfio_pci_ids import IdList
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import Unknown, known

_BY_ADDRESS = "address"


def is_claimed(case: Case) -> bool:
    """Whether something on the host sends the function to vfio-pci."""
    evidence = case.evidence
    if evidence.enablement is not None:
        return True
    return any(ids.covers(case.target.ids) for ids in _given(case))


def not_enabled(case: Case) -> Cause | None:
    """Nothing on the host sends it, or its group, to vfio-pci."""
    evidence, detail = case.evidence, case.detail
    if detail is None or evidence.enablement is not None:
        return None
    override = detail.driver_override
    if isinstance(override, str) and case.is_vfio_driver(override):
        return None
    wanted = [case.target.ids, *map(_ids, _company(case))]
    if any(ids.covers(one) for ids in _given(case) for one in wanted):
        return None
    unread = modprobe.unread(evidence.installation)
    shown = "no ids= of vfio-pci names it, and driver_override does not"
    return Cause(
        "not-enabled",
        Confidence.POSSIBLE if unread else Confidence.CERTAIN,
        f"nothing on this host sends {case.target.address} to vfio-pci",
        f"{shown}; unknown: {', '.join(unread)}" if unread else shown,
        f"run 'gpu-passthrough host enable --select {case.target.address}',"
        " then reboot",
    )


def ids_incomplete(case: Case) -> Cause | None:
    """``ids=`` names some functions of the group, and not others.

    A group goes to a guest whole, so that this is said of each of them.
    """
    evidence = case.evidence
    given = _given(case)
    if _is_by_address(case) or not given:
        return None
    group = {case.target.ids: f"{case.target.address}"}
    for member in _company(case):
        group.setdefault(_ids(member), f"{member.address}")
    lacking = [i for i in group if not any(g.covers(i) for g in given)]
    if len(lacking) == len(group):
        return None
    there = {_ids(m) for m in _company(case) if m.is_on_vfio is True}
    lacking = [ids for ids in lacking if ids not in there]
    if not lacking:
        return None
    is_own = case.target.ids in lacking
    sure = Confidence.CERTAIN if is_own else Confidence.LIKELY
    if modprobe.unread(evidence.installation):
        sure = Confidence.POSSIBLE
    names = ", ".join(f"{ids} ({group[ids]})" for ids in lacking)
    values = [v for ids in given for v in ids.models]
    whole = ",".join(dict.fromkeys((*values, *lacking)))
    return Cause(
        "ids-incomplete",
        sure,
        f"ids= of vfio-pci lacks {names} of this group",
        given[0].source,
        f"'options vfio-pci ids={whole}' in"
        f" {given[0].path or '/etc/modprobe.d/vfio.conf'}, rebuild the"
        " initramfs and reboot; or run 'gpu-passthrough host enable"
        " --binding ids', which does it all",
    )


def ids_stale(case: Case) -> Cause | None:
    """vfio-pci was loaded with other ids than the files have now."""
    taken = taken_ids(case.evidence)
    if taken is None or _is_by_address(case):
        return None
    ids = case.target.ids
    now = [i for i in _given(case) if i.path and i.covers(ids)]
    if not now or taken.covers(ids):
        return None
    return Cause(
        "ids-stale",
        Confidence.LIKELY,
        f"vfio-pci was loaded without {ids}: the initramfs has an older copy"
        f" of {now[0].path}",
        f"{now[0].source}; the log: {taken.source}",
        "rebuild the initramfs ('gpu-passthrough host enable' does), then"
        " reboot",
    )


def override_other(case: Case) -> Cause | None:
    """It is held to another driver by its address."""
    detail = case.detail
    override = None if detail is None else detail.driver_override
    if not isinstance(override, str) or case.is_vfio_driver(override):
        return None
    address = case.target.address
    return Cause(
        "override-other",
        Confidence.CERTAIN,
        f"{address} is held to {override} by its driver_override",
        f"/sys/bus/pci/devices/{address}/driver_override: {override}",
        f"find what sets it (driverctl, a udev rule), then: echo vfio-pci >"
        f" /sys/bus/pci/devices/{address}/driver_override",
    )


def override_lost(case: Case) -> Cause | None:
    """The early script was to set it, and it is empty."""
    detail = case.detail
    if not _is_by_address(case) or detail is None:
        return None
    line = kernel_log.first(case.messages, kernel_log.EARLY_SCRIPT_FAILED)
    is_empty = detail.driver_override is None
    if is_same_boot(case.evidence) or not (is_empty or line):
        return None
    address = case.target.address
    return Cause(
        "override-lost",
        Confidence.LIKELY,
        f"the early script did not send {address} to vfio-pci, or something"
        " took that back",
        line or f"/sys/bus/pci/devices/{address}/driver_override: (null)",
        "run 'gpu-passthrough host enable', then reboot; look for"
        " 'gpu-passthrough:' in the kernel's log",
    )


def _given(case: Case) -> tuple[IdList, ...]:
    return given_ids(case.evidence)


def _is_by_address(case: Case) -> bool:
    enablement = case.evidence.enablement
    return enablement is not None and enablement.binding == _BY_ADDRESS


def _company(case: Case) -> list[Member]:
    """Its fellows whose ids are known."""
    return [
        m
        for m in case.fellows
        if not isinstance(m.function.vendor_id, Unknown)
        and not isinstance(m.function.product_id, Unknown)
    ]


def _ids(member: Member) -> str:
    function = member.function
    return f"{function.vendor_id:04x}:{function.product_id:04x}"


def told_ids(evidence: Evidence) -> tuple[IdList, ...]:
    """Return the lists on the running kernel's command line."""
    return vfio_pci_ids.from_cmdline(
        known(evidence.facts.kernel_arguments) or ()
    )


def taken_ids(evidence: Evidence) -> IdList | None:
    """Return the ids that vfio-pci logged; None where it logged none."""
    return vfio_pci_ids.from_log(evidence.messages)


def given_ids(evidence: Evidence) -> tuple[IdList, ...]:
    """Return what configuration gives, or else what the log shows.

    A vfio-pci that is built in never reads modprobe.d.
    """
    given = told_ids(evidence)
    if not is_builtin_vfio(evidence):
        given += vfio_pci_ids.from_modprobe(evidence.installation)
    if given:
        return given
    taken = taken_ids(evidence)
    return () if taken is None else (taken,)


def is_builtin_vfio(evidence: Evidence) -> bool:
    """Return whether the running kernel is known to have vfio-pci built in."""
    kernel = evidence.kernel
    if kernel is None or isinstance(kernel.builtin, Unknown):
        return False
    return vfio_pci_ids.MODULE in kernel.builtin
