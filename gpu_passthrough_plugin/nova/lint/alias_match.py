"""Why no function of a host satisfies an alias."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Role
from gpu_passthrough_plugin.nova.lint.alias_entry import AliasEntry
from gpu_passthrough_plugin.nova.lint.alias_step import (
    STEPS,
    Offered,
    Step,
    Why,
)
from gpu_passthrough_plugin.nova.lint.case import Case

CHECK = "alias matches"

_ELSEWHERE = (
    "leave it if another host has such functions: another alias finds those"
    " of this one"
)


def matches(of: Case) -> Iterator[Finding]:
    """Entries that no function of this host can ever satisfy.

    Every host has the same aliases.  Where another entry finds all the
    functions that this one nearly does, it may be another host's.
    """
    offered = _offered(of)
    tried = [(alias, *_tried(alias, offered, of)) for alias in of.aliases]
    found = {
        one.device.address
        for _, left, failed in tried
        for one in left
        if failed is None
    }
    for alias, left, failed in tried:
        if failed is not None:
            is_found = all(one.device.address in found for one in left)
            yield _finding(alias, failed.why(alias, left, of), is_found)


def _finding(alias: AliasEntry, why: Why, is_found: bool) -> Finding:
    """:param is_found: whether another finds what this one nearly does."""
    status, remedy = why.status, why.remedy
    if status is Status.FAIL and is_found:
        status, remedy = Status.WARN, _ELSEWHERE
    says = "never matches" if status is Status.FAIL else "finds nothing here"
    detail = f"alias {alias.name!r} {says}: {why.text}"
    return Finding(CHECK, status, detail, remedy, alias.place)


def _offered(of: Case) -> list[Offered]:
    """What is listed; where no file lists anything, every endpoint."""
    if of.options.device_spec:
        return [Offered(pair.device, pair.spec) for pair in of.pairs]
    return [Offered(d, None) for d in of.devices if d.role is not Role.BRIDGE]


def _tried(
    alias: AliasEntry, offered: Sequence[Offered], of: Case
) -> tuple[Sequence[Offered], Step | None]:
    """What is left, and the first thing that none of it satisfies."""
    left = offered
    for step in STEPS:
        fit = [one for one in left if step.fits(alias, one, of)]
        if not fit:
            return left, step
        left = fit
    return left, None
