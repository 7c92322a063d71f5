"""Does vfio-pci bind the function: another driver has it, or it is refused."""

from __future__ import annotations

import posixpath

from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.formats import (
    kernel_log,
    kernel_messages,
    modprobe,
    vfio_pci_ids,
)
from gpu_passthrough_plugin.model.function import Header, PhysicalFunction
from gpu_passthrough_plugin.model.reading import Unknown, known

# Intel's accelerators QAT, DSA and IAX.
# Source: kernel, drivers/vfio/pci/vfio_pci.c (vfio_pci_dev_in_denylist).
_DENYLIST = frozenset(
    {
        "8086:0435", "8086:0443", "8086:0b25", "8086:0cfe", "8086:19e2",
        "8086:19e3", "8086:37c8", "8086:37c9",
    }
)  # fmt: skip


def bridge(case: Case) -> Cause | None:
    """Find that the function is a bridge; vfio-pci binds endpoints only."""
    function, detail = case.function, case.detail
    if function is None or detail is None:
        return None
    is_known = detail.header is Header.BRIDGE
    is_guessed = function.is_bridge and isinstance(detail.header, Unknown)
    if not is_known and not is_guessed:
        return None
    return Cause(
        "bridge",
        Confidence.CERTAIN if is_known else Confidence.LIKELY,
        f"{function.address} is a bridge; vfio-pci binds endpoints only",
        "its header type is not 0",
        "select the functions below it; bridges stay with the host",
    )


def denied(case: Case) -> Cause | None:
    """Find that vfio-pci denies the device for its errata."""
    line = kernel_log.first(case.messages, kernel_messages.VFIO_DENIED)
    is_listed = case.target.ids in _DENYLIST and not _is_denylist_disabled(
        case
    )
    if line is None and not is_listed:
        return None
    return Cause(
        "denied",
        Confidence.CERTAIN if line else Confidence.LIKELY,
        f"vfio-pci denies {case.target.ids}, because guests could exploit its"
        " errata",
        line or f"{case.target.ids} is on vfio-pci's denylist",
        "assign another device; for trusted guests only, 'options vfio-pci"
        " disable_denylist=1' in /etc/modprobe.d allows it",
    )


def sriov_busy(case: Case) -> Cause | None:
    """Find a physical function whose virtual functions are enabled (-16)."""
    detail = case.detail
    line = kernel_log.first(case.messages, kernel_messages.VFIO_SRIOV_ENABLED)
    role = None if detail is None else detail.sriov
    count = role.enabled_vfs if isinstance(role, PhysicalFunction) else 0
    if not count:
        return None
    address = case.target.address
    return Cause(
        "sriov-busy",
        Confidence.CERTAIN if line else Confidence.LIKELY,
        f"{address} has {count} virtual functions enabled; vfio-pci does not"
        " bind it until they are disabled",
        line or f"sriov_numvfs: {count}",
        f"run 'echo 0 > /sys/bus/pci/devices/{address}/sriov_numvfs', or"
        " assign the virtual functions instead",
    )


def probe_failed(case: Case) -> Cause | None:
    """Find that vfio-pci logged an error although the function has a group."""
    line = kernel_log.first(case.messages, kernel_messages.VFIO_PROBE_FAILED)
    function = case.function
    if line is None or function is None or function.iommu_group is None:
        return None
    return Cause(
        "probe-failed",
        Confidence.LIKELY,
        f"vfio-pci failed to bind {function.address}",
        line,
        "check the lines around that one in the kernel log; to retry, run"
        f" 'echo {function.address} > /sys/bus/pci/drivers_probe'",
    )


def not_probed(case: Case) -> Cause | None:
    """Find that no driver has the function, and nothing else says why."""
    function = case.function
    if function is None or function.driver is not None:
        return None
    address = function.address
    return Cause(
        "not-probed",
        Confidence.POSSIBLE,
        f"no driver has {address}: vfio-pci may have been loaded before it"
        " was to have this function",
        f"/sys/bus/pci/devices/{address} has no driver",
        f"run 'echo {address} > /sys/bus/pci/drivers_probe' while vfio-pci is"
        " loaded",
    )


def competing_driver(case: Case) -> Cause | None:
    """Find that another driver has the function."""
    function = case.function
    if function is None or not case.is_unbound:
        return None
    driver = function.driver
    if not isinstance(driver, str):
        return None
    line = kernel_log.first(case.messages, kernel_messages.word(driver))
    is_first = line is not None and _is_before_vfio(case, line)
    ignored = _ignored_line(case, driver)
    return Cause(
        "competing-driver",
        Confidence.CERTAIN,
        f"{function.address} is bound to {driver}"
        f"{', which was loaded before vfio-pci' if is_first else ''}"
        f"{f'; modprobe ignores {ignored}' if ignored else ''}",
        line or f"/sys/bus/pci/devices/{function.address}/driver: {driver}",
        _fix(case, driver),
    )


def _ignored_line(case: Case, driver: str) -> str | None:
    """Return a line that may be meant to keep the driver from loading."""
    for line in modprobe.configuration(case.evidence.installation):
        if line.is_valid or line.is_remark:
            continue
        is_named = line.module == modprobe.normalise(driver)
        if is_named or "blacklist" in posixpath.basename(line.path):
            return str(line)
    return None


def _is_denylist_disabled(case: Case) -> bool:
    evidence = case.evidence
    option = modprobe.parameters(
        evidence.installation,
        known(evidence.facts.kernel_arguments) or (),
        vfio_pci_ids.MODULE,
    ).get("disable_denylist")
    return option is not None and option.is_true


def _is_before_vfio(case: Case, line: str) -> bool:
    """Return whether the log shows vfio-pci, and ``line`` before it.

    A log without its beginning does not show which driver was first.
    """
    messages = [
        message
        for message in case.evidence.messages
        if not kernel_messages.COMMAND_LINE.search(message)
    ]
    first = kernel_log.first(messages, kernel_messages.VFIO_LOADED)
    return first is not None and line in messages[: messages.index(first)]


def _fix(case: Case, driver: str) -> str:
    kernel = case.evidence.kernel
    builtin = None if kernel is None else kernel.builtin
    names = {driver.replace("-", "_"), *case.target.modules}
    if isinstance(builtin, frozenset) and names & builtin:
        return (
            f"{driver} is built into the kernel, so only an early script can"
            " bind vfio-pci before it: run 'gpu-passthrough host enable"
            " --binding address', then reboot"
        )
    return (
        "run 'gpu-passthrough host enable', then reboot; or load vfio-pci"
        f" first with 'softdep {driver} pre: vfio-pci' in /etc/modprobe.d"
    )
