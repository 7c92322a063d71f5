"""Whether the host needs a reboot after ``host enable``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.evidence import Evidence
from gpu_passthrough_plugin.formats import kernel_cmdline
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.reading import Unknown

_CHECK = "reboot"


class RebootState(NamedTuple):
    """Whether a reboot is needed, and what the running host lacks.

    :param is_needed: None where that is unknown.
    :param missing: one line for each thing that ``host enable`` set up and
        that is not in effect.
    :param unread: one line for each value that could not be read.
    """

    is_needed: bool | None
    missing: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def is_same_boot(evidence: Evidence) -> bool | None:
    """Return whether ``host enable`` changed something in this boot.

    None if that is unknown.
    """
    enablement, boot_id = evidence.enablement, evidence.boot_id
    if enablement is None or not enablement.boot_id:
        return None
    return (
        None if isinstance(boot_id, Unknown) else boot_id == enablement.boot_id
    )


def state(evidence: Evidence) -> RebootState:
    """Return whether what ``host enable`` set up waits for a reboot.

    A reboot is needed only where ``host enable`` was run in this boot.  If
    something is still missing after one, the cause is another, which ``host
    verify`` finds.
    """
    if evidence.enablement is None:
        return RebootState(False)
    missing = (*_arguments(evidence), *_bindings(evidence))
    unread = tuple(_unread(evidence))
    is_same = is_same_boot(evidence)
    if is_same is False:
        return RebootState(False, missing, unread)
    if missing:
        return RebootState(is_same, missing, unread)
    return RebootState(None if unread else False, (), unread)


def finding(evidence: Evidence) -> Finding:
    """Return the state as a finding of ``host check``."""
    result = state(evidence)
    missing = "; ".join(result.missing)
    if result.is_needed is None:
        why = "; ".join(result.unread) or f"the boot id is unknown; {missing}"
        return Finding(
            _CHECK,
            Status.WARN,
            f"whether a reboot is needed is unknown: {why}",
            "run this on the host as root",
        )
    if result.is_needed:
        return Finding(
            _CHECK,
            Status.FAIL,
            f"reboot needed: {missing}",
            "reboot this host",
        )
    if result.missing:
        return Finding(
            _CHECK,
            Status.WARN,
            f"still not in effect after a reboot: {missing}",
            "run 'gpu-passthrough host verify' for the cause",
        )
    return Finding(_CHECK, Status.PASS, "no reboot is needed")


def _arguments(evidence: Evidence) -> Iterator[str]:
    words, enablement = evidence.facts.kernel_arguments, evidence.enablement
    if enablement is not None and not isinstance(words, Unknown):
        required = Requirements(enablement.arguments)
        for word in kernel_cmdline.missing(words, required):
            yield f"the running kernel lacks {word}"


def _bindings(evidence: Evidence) -> Iterator[str]:
    members = {m.address: m for m in evidence.members}
    for target in evidence.enablement.targets if evidence.enablement else ():
        member = members.get(target.address)
        if member is None:
            yield f"{target.address} is missing"
        elif member.is_on_vfio is False:
            driver = member.function.driver or "no driver"
            yield f"{target.address} is on {driver}"


def _unread(evidence: Evidence) -> Iterator[str]:
    words, enablement = evidence.facts.kernel_arguments, evidence.enablement
    if enablement is None:
        return
    if isinstance(words, Unknown) and enablement.arguments:
        yield f"the kernel command line is {words}"
    targets = {target.address for target in enablement.targets}
    for member in evidence.members:
        is_on_vfio = member.is_on_vfio
        if member.address in targets and isinstance(is_on_vfio, Unknown):
            yield f"the driver of {member.address} is {is_on_vfio}"
