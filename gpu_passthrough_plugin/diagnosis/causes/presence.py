"""The function itself: there, another one, or not readable."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis import log
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.reading import Unknown

_AGAIN = (
    "see 'gpu-passthrough device list' for where it is, then run"
    " 'gpu-passthrough host enable --select ADDRESS' for that address"
)
_LEFT = (r"link down", r"not present", r"pciehp", r"\bremov")


def gone(case: Case) -> Cause | None:
    """The host shows no function at the address."""
    if case.member is not None:
        return None
    count = len(case.evidence.members)
    return Cause(
        "gone",
        Confidence.CERTAIN,
        f"the host shows no function at {case.target.address}",
        log.own(case, *_LEFT)
        or f"/sys/bus/pci/devices: {count} functions, and not this one",
        "look whether the card sits in its slot and has power, and whether"
        " the slot is turned off in the firmware's setup",
    )


def moved(case: Case) -> Cause | None:
    """The address is another function's now."""
    target, function = case.target, case.function
    if function is None:
        other = _elsewhere(case)
        if other is None:
            return None
        return Cause(
            "moved",
            Confidence.POSSIBLE,
            f"{other.address} is a {target.ids} that was not asked for:"
            f" {target.address} may have moved there",
            f"{other.address} is {target.ids}",
            _AGAIN,
        )
    found = _ids(function)
    if not target.vendor_id or found in (None, "ffff:ffff", target.ids):
        return None
    return Cause(
        "moved",
        Confidence.CERTAIN,
        f"{target.address} is another device now: addresses have moved",
        f"{target.address} is {found}, and was {target.ids}",
        _AGAIN,
    )


def unreadable(case: Case) -> Cause | None:
    """Nobody knows which driver it is on, or in which group."""
    function = case.function
    if function is None:
        return None
    for what, value in (
        ("the driver", function.driver),
        ("the IOMMU group", function.iommu_group),
    ):
        if isinstance(value, Unknown):
            return Cause(
                "unreadable",
                Confidence.POSSIBLE,
                f"{what} of {function.address} is unknown",
                f"{what}: {value}",
                "run this on the host itself as root",
            )
    return None


def _elsewhere(case: Case) -> Function | None:
    """A function of the same ids that is at no address asked for."""
    for member in case.evidence.members:
        function = member.function
        is_same = _ids(function) == case.target.ids
        if is_same and not case.is_target(function.address):
            return function
    return None


def _ids(function: Function) -> str | None:
    vendor, product = function.vendor_id, function.product_id
    if isinstance(vendor, Unknown) or isinstance(product, Unknown):
        return None
    return f"{vendor:04x}:{product:04x}"
