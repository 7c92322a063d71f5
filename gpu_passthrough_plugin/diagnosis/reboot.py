"""Whether the host has to be rebooted, told from what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.evidence import Evidence
from gpu_passthrough_plugin.formats import kernel_cmdline
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.reading import Unknown

_CHECK = "reboot"


class State(NamedTuple):
    """Whether a reboot is needed, and what the running host lacks.

    :param is_needed: None for unknown.
    :param missing: a line each; empty where all is as it should be.
    :param unread: a line for each thing that could not be looked at.
    """

    is_needed: bool | None
    missing: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def is_same_boot(evidence: Evidence) -> bool | None:
    """Whether ``host enable`` was run in this boot; None for unknown."""
    enablement, now = evidence.enablement, evidence.boot_id
    if enablement is None or not enablement.boot_id:
        return None
    return None if isinstance(now, Unknown) else now == enablement.boot_id


def state(evidence: Evidence) -> State:
    """Needed where all was set up in this very boot and does not hold yet.

    After another boot it is not: that did not help, and the causes say
    why.
    """
    if evidence.enablement is None:
        return State(False)
    missing = (*_arguments(evidence), *_bindings(evidence))
    unread = tuple(_unread(evidence))
    is_same = is_same_boot(evidence)
    if is_same is False:
        return State(False, missing, unread)
    if missing:
        return State(is_same, missing, unread)
    return State(None if unread else False, (), unread)


def finding(evidence: Evidence) -> Finding:
    """The same as a line of ``host check``."""
    found = state(evidence)
    said = "; ".join(found.missing)
    if found.is_needed is None:
        why = "; ".join(found.unread) or f"which boot this is; {said}"
        return Finding(
            _CHECK,
            Status.WARN,
            f"whether a reboot is needed is unknown: {why}",
            "run this on the host itself as root",
        )
    if found.is_needed:
        return Finding(
            _CHECK, Status.FAIL, f"reboot needed: {said}", "reboot this host"
        )
    if found.missing:
        return Finding(
            _CHECK,
            Status.WARN,
            f"rebooted since 'host enable', and still: {said}",
            "'gpu-passthrough host verify' says why",
        )
    return Finding(_CHECK, Status.PASS, "nothing waits for a reboot")


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
            yield f"{target.address} is not there"
        elif member.is_on_vfio is False:
            driver = member.function.driver or "no driver"
            yield f"{target.address} is on {driver}"


def _unread(evidence: Evidence) -> Iterator[str]:
    words, enablement = evidence.facts.kernel_arguments, evidence.enablement
    if enablement is None:
        return
    if isinstance(words, Unknown) and enablement.arguments:
        yield f"the kernel's arguments are {words}"
    wanted = {target.address for target in enablement.targets}
    for member in evidence.members:
        is_on_vfio = member.is_on_vfio
        if member.address in wanted and isinstance(is_on_vfio, Unknown):
            yield f"the driver of {member.address} is {is_on_vfio}"
