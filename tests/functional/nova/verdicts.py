"""What ``nova check`` and real Nova make of a configuration, in one form."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.nova.lint import (
    alias_matching,
    check,
    configuration,
    host_view,
)
from tests.functional.nova import real_nova
from tests.functional.nova.real_nova import Nova
from tests.trees.nova_hosts import HOSTS
from tests.unit.nova.lint.build import groups

Verdict = str | Sequence[str]
"""The aliases that no flavor gets a device for; or a word.

It is "fine"; or what does not start, "nova-compute", "nova-api" or
"nova-scheduler"; "report" where nova-compute cannot report the devices to
Placement; or "files" where oslo.config reads none of it.  ``nova check``
says "refused" for all of these.
"""

# Checks of what Nova does not know of, or does not mind.
STRICTER: Mapping[str, str] = {
    "groups": "an IOMMU group is one unit; Nova would hand out parts of it",
    "bridges": "libvirt refuses to assign a bridge; Nova offers it",
    "greedy": "the entry takes what the host needs as well",
    "host": "the function is the host's own, or is in use there",
}
# Checks whose failure means that no alias gets a function of the host.
UNSATISFYING = frozenset({"placement", "pools"})


@functools.cache
def host_groups(name: str) -> Sequence[Group]:
    """The groups of one of ``nova_hosts``."""
    return groups(HOSTS[name]())


def of_nova(nova: Nova, host: str, conf: str) -> Verdict:
    judgement = nova.judge(conf, real_nova.seen(host_groups(host)))
    if judgement.refused:
        return judgement.service
    return [*judgement.unsatisfied] or "fine"


def simplified(verdict: Verdict) -> Verdict:
    """A verdict in the words that ``nova check`` has."""
    is_refusal = isinstance(verdict, str) and verdict != "fine"
    return "refused" if is_refusal else verdict


def of_check(
    host: str, conf: str, number: int
) -> tuple[Verdict, Sequence[str]]:
    """The verdict, and which of the checks in ``STRICTER`` fail.

    :param number: a release of Nova's.
    """
    release = Release(number)
    parts = host_groups(host)
    try:
        files = configuration.read([("nova.conf", conf.encode())])
        findings = check.findings(files, parts, release)
    except errors.Invalid:
        return "refused", []
    failed = {f.check for f in findings if f.status is Status.FAIL}
    stricter = sorted(failed & {*STRICTER})
    if failed - {*STRICTER, *UNSATISFYING, alias_matching.ALIAS_MATCHES}:
        return "refused", stricter
    # Others are of what would be so with another configuration.
    unmatched = {
        finding.where
        for finding in findings
        if finding.check == alias_matching.ALIAS_MATCHES
        and ("never" in finding.detail or "on this host" in finding.detail)
    }
    aliases = host_view.apply(files, parts, release).aliases
    satisfied = {
        alias.entry.name
        for alias in aliases
        if alias.place not in unmatched and not failed & UNSATISFYING
    }
    unsatisfied = sorted({a.entry.name for a in aliases} - satisfied)
    return unsatisfied or "fine", stricter
