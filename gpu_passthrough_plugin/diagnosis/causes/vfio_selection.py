"""What selects the function for vfio-pci: ``ids=`` or driver_override."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_passthrough_plugin.diagnosis.evidence import (
    Case,
    Cause,
    Confidence,
    Evidence,
)
from gpu_passthrough_plugin.diagnosis.reboot import is_same_boot
from gpu_passthrough_plugin.formats import (
    device_ids,
    kernel_log,
    kernel_messages,
    modprobe,
    vfio_pci_ids,
)
from gpu_passthrough_plugin.formats.vfio_pci_ids import IdList
from gpu_passthrough_plugin.model.function import VirtualFunction
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import Unknown, known

_BY_ADDRESS = "address"


def is_selected(case: Case) -> bool:
    """Return whether configuration sends the function to vfio-pci."""
    evidence = case.evidence
    if evidence.enablement is not None:
        return True
    return any(ids.covers(case.target.ids) for ids in configured_ids(evidence))


def not_enabled(case: Case) -> Cause | None:
    """Find that nothing sends the function or its group to vfio-pci."""
    evidence, detail = case.evidence, case.detail
    if detail is None or evidence.enablement is not None:
        return None
    override = detail.driver_override
    if isinstance(override, str) and case.is_vfio_driver(override):
        return None
    group_ids = [case.target.ids, *(ids for ids, _ in _peers(case))]
    id_lists = configured_ids(evidence)
    if any(ids.covers(i) for ids in id_lists for i in group_ids):
        return None
    unread = modprobe.unread(evidence.installation)
    text = f"nothing on this host binds {case.target.address} to vfio-pci"
    reason = "neither ids= of vfio-pci nor driver_override names it"
    return Cause(
        "not-enabled",
        Confidence.POSSIBLE if unread else Confidence.CERTAIN,
        f"{text}, as far as it could be read" if unread else text,
        f"{reason}; unknown: {', '.join(unread)}" if unread else reason,
        "run 'gpu-passthrough host enable', for every function that is"
        " selected, then reboot",
    )


def ids_invalid(case: Case) -> Cause | None:
    """Find that vfio-pci refused an entry of its ``ids=``."""
    line = kernel_log.first(
        case.evidence.messages, kernel_messages.VFIO_ID_INVALID
    )
    logged = logged_ids(case.evidence)
    if line is None or _is_by_address(case):
        return None
    if logged is not None and logged.covers(case.target.ids):
        return None
    return Cause(
        "ids-invalid",
        Confidence.LIKELY,
        "an entry of vfio-pci's ids= is not a device id, so vfio-pci ignored"
        " it",
        line,
        "write ids= as VENDOR:DEVICE, four hexadecimal digits each, separated"
        " by commas without blanks, or run 'gpu-passthrough host enable"
        " --binding ids'; then rebuild the initramfs and reboot",
    )


def ids_incomplete(case: Case) -> Cause | None:
    """Find that ``ids=`` names some functions of the group and not others.

    A group is assigned whole, so the cause applies to each of them.
    """
    evidence = case.evidence
    id_lists = configured_ids(evidence)
    if _is_by_address(case) or not id_lists:
        return None
    group = {case.target.ids: f"{case.target.address}"}
    for ids, member in _peers(case):
        group.setdefault(ids, f"{member.address}")
    lacking = [i for i in group if not any(g.covers(i) for g in id_lists)]
    if len(lacking) == len(group):
        return None
    on_vfio = {ids for ids, m in _peers(case) if m.is_on_vfio is True}
    lacking = [ids for ids in lacking if ids not in on_vfio]
    if not lacking:
        return None
    is_own = case.target.ids in lacking
    confidence = Confidence.CERTAIN if is_own else Confidence.LIKELY
    if modprobe.unread(evidence.installation):
        confidence = Confidence.POSSIBLE
    names = ", ".join(f"{ids} ({group[ids]})" for ids in lacking)
    values = [v for ids in id_lists for v in ids.models]
    complete = ",".join(dict.fromkeys((*values, *lacking)))
    return Cause(
        "ids-incomplete",
        confidence,
        f"ids= of vfio-pci lacks {names}, in the same group",
        id_lists[0].source,
        f"set 'options vfio-pci ids={complete}' in"
        f" {id_lists[0].path or '/etc/modprobe.d/vfio.conf'}, rebuild the"
        " initramfs and reboot; or run 'gpu-passthrough host enable"
        " --binding ids', which sets it and rebuilds, then reboot",
    )


def ids_stale(case: Case) -> Cause | None:
    """Find that vfio-pci was loaded with other ids than the files have."""
    logged = logged_ids(case.evidence)
    if logged is None or _is_by_address(case):
        return None
    ids = case.target.ids
    files = [
        i for i in configured_ids(case.evidence) if i.path and i.covers(ids)
    ]
    if not files or logged.covers(ids):
        return None
    return Cause(
        "ids-stale",
        Confidence.LIKELY,
        f"vfio-pci was loaded without {ids}, so the initramfs has an older"
        f" copy of {files[0].path}",
        f"{files[0].source}; the log: {logged.source}",
        "run 'gpu-passthrough host enable', which rebuilds the initramfs,"
        " then reboot",
    )


def override_other(case: Case) -> Cause | None:
    """Find that driver_override names a driver other than VFIO's."""
    detail = case.detail
    override = None if detail is None else detail.driver_override
    if not isinstance(override, str) or case.is_vfio_driver(override):
        return None
    address = case.target.address
    return Cause(
        "override-other",
        Confidence.CERTAIN,
        f"driver_override pins {address} to {override}",
        f"/sys/bus/pci/devices/{address}/driver_override: {override}",
        "remove what sets it (driverctl, a udev rule), then run 'echo"
        f" vfio-pci > /sys/bus/pci/devices/{address}/driver_override'",
    )


def override_lost(case: Case) -> Cause | None:
    """Find that driver_override is empty where the early script sets it."""
    detail = case.detail
    if not _is_by_address(case) or detail is None:
        return None
    line = kernel_log.first(case.messages, kernel_messages.EARLY_SCRIPT_FAILED)
    is_empty = detail.driver_override is None
    if is_same_boot(case.evidence) or not (is_empty or line):
        return None
    address = case.target.address
    if isinstance(detail.sriov, VirtualFunction):
        return Cause(
            "override-lost",
            Confidence.LIKELY,
            f"{address} is a virtual function: it is not there yet when the"
            " early script runs",
            line or f"physfn: {detail.sriov.physical}",
            "let an instance's boot bind it, or bind it when it is enabled,"
            f" with 'driverctl set-override {address} vfio-pci'",
        )
    return Cause(
        "override-lost",
        Confidence.LIKELY,
        f"the early script did not set driver_override of {address}, or it"
        " was reset later",
        line or f"/sys/bus/pci/devices/{address}/driver_override: (null)",
        "run 'gpu-passthrough host enable', then reboot; search the kernel"
        " log for 'gpu-passthrough:'",
    )


def cmdline_ids(evidence: Evidence) -> tuple[IdList, ...]:
    """Return the ``ids=`` lists on the running kernel's command line."""
    return vfio_pci_ids.from_cmdline(
        known(evidence.facts.kernel_arguments) or ()
    )


def logged_ids(evidence: Evidence) -> IdList | None:
    """Return the ids that vfio-pci logged when it was loaded, or None."""
    return vfio_pci_ids.from_log(evidence.messages)


def configured_ids(evidence: Evidence) -> tuple[IdList, ...]:
    """Return the ``ids=`` lists that vfio-pci reads, or else the logged one.

    A vfio-pci that is built in does not read modprobe.d.
    """
    id_lists = cmdline_ids(evidence)
    if not is_builtin_vfio(evidence):
        id_lists += vfio_pci_ids.from_modprobe(evidence.installation)
    if id_lists:
        return id_lists
    logged = logged_ids(evidence)
    return () if logged is None else (logged,)


def is_builtin_vfio(evidence: Evidence) -> bool:
    """Return whether the running kernel is known to have vfio-pci built in."""
    kernel = evidence.kernel
    if kernel is None or isinstance(kernel.builtin, Unknown):
        return False
    return vfio_pci_ids.MODULE in kernel.builtin


def _is_by_address(case: Case) -> bool:
    enablement = case.evidence.enablement
    return enablement is not None and enablement.binding == _BY_ADDRESS


def _peers(case: Case) -> Iterator[tuple[str, Member]]:
    """Yield the function's peers with their ids, where these are known."""
    for member in case.peers:
        vendor, product = (
            member.function.vendor_id,
            member.function.product_id,
        )
        if not isinstance(vendor, Unknown) and not isinstance(
            product, Unknown
        ):
            yield device_ids.pair(vendor, product), member
