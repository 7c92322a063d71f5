"""Is the function there: missing, moved, unreadable or not responding."""

from __future__ import annotations

from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.formats import (
    device_ids,
    kernel_log,
    kernel_messages,
    pci_removal,
)
from gpu_passthrough_plugin.formats.pci_removal import Removal
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import (
    Function,
    Header,
    PhysicalFunction,
)
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import Unknown


class _Absence(NamedTuple):
    """Why a function is missing.

    :param addition: to the text that it is missing.
    :param line: what shows it; None for nothing better than its absence.
    """

    addition: str
    line: str | None
    fix: str


def gone(case: Case) -> Cause | None:
    """Find that the host has no function at the address."""
    if case.member is not None:
        return None
    count = len(case.evidence.members)
    absence = _virtual_absence(case) or _absence(case)
    return Cause(
        "gone",
        Confidence.CERTAIN,
        f"no PCI function at {case.target.address}{absence.addition}",
        absence.line
        or f"/sys/bus/pci/devices has {count} functions, but not this one",
        absence.fix,
    )


def _virtual_absence(case: Case) -> _Absence | None:
    """Return why a virtual function is missing; None if it is not one."""
    physical = _physical(case)
    if physical is None:
        return None
    addition = (
        f": it may be a virtual function, and {physical.address}, which can"
        " have some, has none enabled"
    )
    fix = (
        f"let the driver of {physical.address} enable them at every boot"
        " (sriov_numvfs), before anything binds them"
    )
    if physical.is_on_vfio is True:
        addition = f"{addition}, as it is on {physical.function.driver}"
        fix = (
            f"leave {physical.address} to its own driver: remove what binds it"
            " to vfio-pci (ids=, driver_override, a hook of the hypervisor),"
            f" then {fix}"
        )
    line = kernel_log.last(
        kernel_log.about(case.evidence.messages, physical.address),
        kernel_messages.SRIOV_FAILED,
    )
    return _Absence(addition, line, fix)


def _absence(case: Case) -> _Absence:
    """Return why a function is missing: removed, renumbered or lost."""
    line = kernel_log.first(case.messages, kernel_messages.REMOVED)
    removal = _removal(case)
    if removal is not None:
        return _Absence(
            f": {removal.path} removes such functions from the bus",
            line or str(removal),
            removal.remedy,
        )
    other = _another_device(case)
    if other is not None:
        return _Absence(
            f": bus numbers have changed, {other} is another device",
            line,
            _enable_again(case),
        )
    slot = case.target.address.slot_address
    present = [
        m.address
        for m in case.evidence.members
        if m.address.slot_address == slot
    ]
    if present:
        return _Absence(
            f", although other functions of the slot are there ({present[0]}):"
            " something removed it from the bus",
            line,
            "search /etc/udev/rules.d and /usr/lib/udev/rules.d for"
            " ATTR{remove}, disable that rule or the graphics switching tool"
            " that removes the function, then reboot",
        )
    if _same_model_elsewhere(case) is not None:
        return _Absence("", line, _enable_again(case))
    short = kernel_log.first(
        case.evidence.messages, kernel_messages.BUS_NUMBERS_SHORT
    )
    if line is None and short is not None:
        return _Absence(
            ", and a bridge of the host has no bus numbers",
            short,
            "let the firmware setup reserve more bus numbers, or add"
            " pci=assign-busses to the kernel command line, then reboot",
        )
    return _Absence(
        "",
        line,
        "check that the card is seated and has power, and that the slot is"
        " enabled in the firmware setup",
    )


def _physical(case: Case) -> Member | None:
    """Return the physical function whose virtual one is missing, or None.

    Virtual functions follow their physical one on its bus or on the next,
    and are of its vendor and class: the audio function of a card that can do
    SR-IOV is none.
    """
    address = case.target.address
    for member in case.evidence.members:
        role = None if member.detail is None else member.detail.sriov
        is_near = (
            member.address.domain == address.domain
            and 0 <= address.bus - member.address.bus <= 1
            and member.address < address
        )
        if (
            is_near
            and isinstance(role, PhysicalFunction)
            and not role.enabled_vfs
        ):
            function = member.function
            ids = (function.vendor_id, function.class_code)
            if ids == (case.target.vendor_id, case.target.class_code):
                return member
    return None


def _removal(case: Case) -> Removal | None:
    """Return what removes the function from the bus on purpose, or None."""
    target = case.target
    return next(
        (
            removal
            for removal in pci_removal.removals(case.evidence.installation)
            if removal.covers(
                target.address, target.vendor_id, target.class_code
            )
        ),
        None,
    )


def _another_device(case: Case) -> Address | None:
    """Return a target of the slot that is another device now, or None."""
    slot = case.target.address.slot_address
    ids = {
        m.address: _ids(m.function)
        for m in case.evidence.members
        if m.address.slot_address == slot
    }
    return next(
        (
            t.address
            for t in case.targets
            if t.address.slot_address == slot
            and t.vendor_id
            and ids.get(t.address, t.ids) not in (None, "ffff:ffff", t.ids)
        ),
        None,
    )


def _enable_again(case: Case) -> str:
    """Return how to enable the device at the address that it has now."""
    other = _same_model_elsewhere(case)
    if other is None:
        return (
            "find its new address with 'gpu-passthrough device list', then run"
            " 'gpu-passthrough host enable --select ADDRESS' with that address"
        )
    return (
        f"check that {other.address} is the device that was at"
        f" {case.target.address}, then run 'gpu-passthrough host enable"
        f" --select {other.address}'"
    )


def moved(case: Case) -> Cause | None:
    """Find that another device has the address now."""
    target, function = case.target, case.function
    if function is None:
        other = _same_model_elsewhere(case)
        if other is None or _physical(case) is not None:
            # A virtual function that is missing may be its physical's twin.
            return None
        return Cause(
            "moved",
            Confidence.POSSIBLE,
            f"{target.address} may have moved to {other.address}, which has"
            f" the same ids ({target.ids}) and was not selected",
            f"{other.address} is {target.ids}",
            _enable_again(case),
        )
    ids = _ids(function)
    if not target.vendor_id or ids in (None, "ffff:ffff", target.ids):
        return None
    return Cause(
        "moved",
        Confidence.CERTAIN,
        f"{target.address} is another device now: bus numbers have changed",
        f"{target.address} is {ids}; it was {target.ids}",
        _enable_again(case),
    )


def unreadable(case: Case) -> Cause | None:
    """Find that the function's driver or IOMMU group could not be read."""
    function = case.function
    if function is None:
        return None
    for name, value in (
        ("the driver", function.driver),
        ("the IOMMU group", function.iommu_group),
    ):
        if isinstance(value, Unknown):
            return Cause(
                "unreadable",
                Confidence.POSSIBLE,
                f"{name} of {function.address} is unknown",
                f"{name}: {value}",
                "run this on the host as root",
            )
    return None


def _same_model_elsewhere(case: Case) -> Function | None:
    """Return another function of the same ids, not a target, or None.

    Not one that ``host enable`` would refuse, such as the host's own card.
    """
    for member in case.evidence.members:
        function = member.function
        is_same = _ids(function) == case.target.ids
        if (
            is_same
            and not case.is_target(function.address)
            and not case.evidence.refusals(function.address)
        ):
            return function
    return None


def _ids(function: Function) -> str | None:
    vendor, product = function.vendor_id, function.product_id
    if isinstance(vendor, Unknown) or isinstance(product, Unknown):
        return None
    return device_ids.pair(vendor, product)


def dead(case: Case) -> Cause | None:
    """Find that the function's config space reads all ones."""
    detail = case.detail
    if detail is None or detail.header is not Header.DEAD:
        return None
    return Cause(
        "dead",
        Confidence.CERTAIN,
        f"{case.target.address} does not respond",
        "its config space reads ff (header type 7f)",
        "disconnect the host from power for a minute; a reboot is often not"
        " enough",
    )


def d3cold(case: Case) -> Cause | None:
    """Find that the function did not wake from D3cold.

    Possible only where it responds again, so that it may have woken since.
    """
    line = kernel_log.first(case.messages, kernel_messages.NOT_AWAKE)
    detail = case.detail
    if line is None or detail is None:
        return None
    sure = Confidence.LIKELY if case.is_unbound else Confidence.POSSIBLE
    if detail.header is Header.DEAD:
        sure = Confidence.CERTAIN
    return Cause(
        "d3cold",
        sure,
        f"{case.target.address} did not wake from D3cold",
        line,
        "add 'options vfio-pci disable_idle_d3=1' to a file in"
        " /etc/modprobe.d to keep it awake, rebuild the initramfs and"
        " power-cycle the host",
    )
