"""Which hosts are lost, and when one that was is offered again: pure.

The leader of the agents judges, and nothing that it decides is for good: a
lost host is cordoned, and keeps what it holds.  Where most hosts seem to be
away at once, the fault is more likely the network, or the server that keeps
the group: nobody is marked then.  Kubernetes stops evictions for the same
reason where 55 % of a zone's nodes are not ready.
Source: kubernetes.io/docs/concepts/architecture/nodes (Rate limits on
eviction).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.agent.finding import Act, Case, Finding
from gpu_passthrough_plugin.agent.observation import Observation
from gpu_passthrough_plugin.model.agent_state import FENCED, LOST, is_fenced
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.reading import Unknown

_MIN_WITHHELD = 2
# What is not known, or not as the ledger has it, while one of these is found.
_UNSETTLED = frozenset(
    {
        Case.GUEST_CONFLICT,
        Case.GUEST_UNREADABLE,
        Case.LIBVIRT,
        Case.KERNEL,
    }
)


class Moment(NamedTuple):
    """An instant.

    :param monotonic_s: of a clock that nobody sets: intervals are its.
    :param wall_s: seconds since 1970, to be shown.
    """

    monotonic_s: float
    wall_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class HostWatch:
    """What the leader keeps from one look at the group to the next.

    A new leader keeps nothing, and so waits as long as for any host.

    :param looked_s: when it looked last, by the monotonic clock.
    :param away_since: when each host was first seen not to be a member.
    """

    looked_s: float | None = None
    away_since: Mapping[str, Moment] = dataclasses.field(default_factory=dict)


class LostHost(NamedTuple):
    """A host to be marked.

    :param since_s: since when its agent does not answer, in seconds since
        1970.
    """

    name: str
    since_s: float


class Judgement(NamedTuple):
    """What one look at the group comes to.

    :param lost: hosts to be marked.
    :param withheld: hosts that are away, of which none is marked because
        they are too many.
    :param is_most_away: whether too many are away for one to be powered off,
        those that were marked before included: a fault that grows marks them
        little by little.
    """

    watch: HostWatch
    lost: tuple[LostHost, ...] = ()
    withheld: tuple[str, ...] = ()
    is_most_away: bool = False


def judge(
    watch: HostWatch,
    hosts: Collection[HostRecord],
    members: Collection[str],
    now: Moment,
    lost_after_s: float,
) -> Judgement:
    """Return which hosts are lost.

    A host that is cordoned is somebody's already: it is not marked, and does
    not count among the others.

    :param watch: of the look before.
    :param members: the hosts whose agents answer.
    """
    looked_s = watch.looked_s
    is_stalled = looked_s is None or now.monotonic_s - looked_s >= lost_after_s
    away_since = {} if is_stalled else watch.away_since
    judged = [h.name for h in hosts if h.is_watched and not h.is_cordoned]
    away = {
        name: away_since.get(name, now)
        for name in judged
        if name not in members
    }
    watch = HostWatch(now.monotonic_s, away)
    lost = tuple(
        LostHost(name, since.wall_s)
        for name, since in sorted(away.items())
        if now.monotonic_s - since.monotonic_s >= lost_after_s
    )
    marked = [
        h.name for h in hosts if h.is_watched and h.reason.startswith(LOST)
    ]
    marked_away = set(marked).difference(members)
    is_most_away = _is_most(
        len(away) + len(marked_away), len(judged) + len(marked)
    )
    if lost and _is_most(len(away), len(judged)):
        return Judgement(watch, (), tuple(sorted(away)), is_most_away)
    return Judgement(watch, lost, (), is_most_away)


def _is_most(away: int, hosts: int) -> bool:
    return away >= _MIN_WITHHELD and 2 * away > hosts


def fenced(observed: Observation) -> Iterator[Finding]:
    """Yield what was given up when this host was fenced.

    What a guest runs with in spite of it waits for a person: that is found
    otherwise.
    """
    if isinstance(observed.guests, Unknown):
        return
    for uuid in sorted(given_up(observed)):
        yield Finding(
            Case.FENCED,
            uuid,
            "its units were given up when this host was fenced, and it does"
            " not run here",
            Act.FORGET,
            consumer=uuid,
        )
    taken = {
        address
        for guest in observed.guests
        if guest.host_functions is not None
        for address in guest.host_functions.addresses
    }
    for record in observed.listing.records:
        unit = record.unit
        if is_fenced(record) and taken.isdisjoint(
            function.address for function in unit.functions
        ):
            yield Finding(
                Case.FENCED,
                str(unit.key),
                record.reason,
                Act.CLEAN,
                units=(unit.key,),
            )


def given_up(observed: Observation) -> frozenset[str]:
    """Return the instances of the journal that were given up.

    They hold nothing, are in the middle of nothing, and do not run.
    """
    guests = observed.guests
    running = () if isinstance(guests, Unknown) else guests
    kept = {guest.uuid for guest in running}
    kept |= {r.consumer or "" for r in observed.listing.records}
    functions = {
        function.address
        for record in observed.listing.records
        if is_fenced(record)
        for function in record.unit.functions
    }
    is_marked = observed.marked.startswith(FENCED)
    return frozenset(
        instance.uuid
        for instance in observed.instances
        if instance.phase in (Phase.ACTIVE, Phase.ATTACHED)
        and instance.uuid not in kept
        and (is_marked or not functions.isdisjoint(instance.functions))
    )


def returned(
    observed: Observation, findings: Collection[Finding]
) -> Iterator[Finding]:
    """Yield that a host is cordoned as lost or fenced.

    It is offered again by a pass that has nothing else to do.

    :param findings: everything else that was found.
    """
    cordon = observed.marked
    if not cordon:
        return
    act, remedy = Act.UNCORDON, ""
    unsettled = sorted({str(f.case) for f in findings if f.case in _UNSETTLED})
    if observed.is_away:
        act = Act.NONE
        remedy = (
            "start gpu-passthrough-agent, and see [coordination] backend_url;"
            " without an agent, run 'gpu-passthrough inventory uncordon"
            f" {observed.host}'"
        )
    elif unsettled:
        act = Act.NONE
        remedy = f"see {', '.join(unsettled)}: it stays cordoned until then"
    elif any(finding.has_act for finding in findings):
        act = Act.NONE
    yield Finding(
        Case.HOST_LOST,
        observed.host,
        f"it is cordoned: {cordon}",
        act,
        remedy=remedy,
    )
