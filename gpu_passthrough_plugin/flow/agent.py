"""One pass of the agent: observe this host, decide, and act.

Every act is one that a command does as well, under the host's lock, which
looks again at what it acts on; it may be interrupted anywhere and repeated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent import reconcile
from gpu_passthrough_plugin.agent.finding import Act, Finding
from gpu_passthrough_plugin.agent.observation import (
    GoneInstance,
    HostFault,
    Observation,
    RunningGuest,
)
from gpu_passthrough_plugin.compute import gone_instances
from gpu_passthrough_plugin.compute.instances import ObservedInstances
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow import (
    fence,
    instance_sources,
    inventory,
    lost_hosts,
    release,
    suspect_units,
)
from gpu_passthrough_plugin.flow.context import HostContext, why_busy
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import (
    HostFunctions,
    host_functions,
)
from gpu_passthrough_plugin.model import agent_state
from gpu_passthrough_plugin.model.allocation import Allocation, UnitListing
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.guest import LibvirtDomain
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.unit import State, Unit

if TYPE_CHECKING:
    from gpu_passthrough_plugin.flow.pass_metrics import PassMetrics
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor

_NO_FUNCTIONS = HostFunctions((), ())
_IN_VAIN = "that changed nothing; the next pass tries again"
# What one act brings to light is acted on in the same pass.
_MAX_ROUNDS = 3


class Result(enum.StrEnum):
    """What became of a finding in a pass."""

    DONE = "done"
    PLANNED = "planned"
    FAILED = "failed"
    LEFT = "left"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A finding, and what became of it.

    :param text: why its act failed; empty otherwise.
    """

    finding: Finding
    result: Result
    text: str = ""

    @property
    def waits_for_person(self) -> bool:
        """Whether it is left to a person, or its act failed."""
        return self.result is Result.FAILED or self.finding.waits_for_person


class UnitCache:
    """The units of a host, judged again only when the host changed.

    To judge a group opens the config space of its functions; whether
    anything changed is known without that.
    """

    def __init__(self) -> None:
        self._seen: object = None
        self._units: tuple[Unit, ...] = ()
        self.functions: tuple[Function, ...] = ()

    def units(self, context: HostContext) -> tuple[Unit, ...]:
        """Return the units of the assignable groups.

        :raises Error: when the host cannot be read.
        """
        self.functions = discovery.functions(context.tree)
        seen = (
            self.functions,
            discovery.mediated_devices(context.tree),
            host_facts.facts(context.tree),
            context.policy,
        )
        if seen != self._seen:
            self._units = context.units()
            self._seen = seen
        return self._units


def run(
    context: HostContext,
    cache: UnitCache,
    faults: Callable[[], Iterable[tuple[str, str]]] = tuple,
    *,
    is_dry: bool = False,
    is_away: Callable[[], bool] = lambda: False,
    metrics: PassMetrics | None = None,
) -> tuple[Outcome, ...]:
    """Do one pass; return what was found, and what became of it.

    An act that fails keeps no other from being tried.

    :param cache: of the passes before.
    :param faults: returns what is wrong with the host otherwise, each with
        what a person does about it.
    :param is_dry: whether to act on nothing.
    :param is_away: returns whether this host's agent is not among the
        agents, where these know of one another; asked only of a host that
        was marked as lost.
    :param metrics: takes what this pass finds; None where nothing does.
    :raises Error: when the ledger or the journal cannot be read: nothing can
        be decided without them.
    """
    acted: dict[Finding, Outcome] = {}
    stage = contextlib.nullcontext if metrics is None else metrics.stage
    for _ in range(_MAX_ROUNDS):
        with stage("observe"):
            observed = observe(
                context, cache, tuple(HostFault(*f) for f in faults())
            )
        if observed.marked:
            observed = dataclasses.replace(observed, is_away=is_away())
        with stage("decide"):
            findings = reconcile.reconcile(observed)
        due = [f for f in findings if f.has_act and f not in acted]
        if is_dry or not due:
            acted |= _repeated(acted, findings)
            break
        with stage("act"):
            acted.update(_acted(context, due))
    if not is_dry:
        suspect_units.remember_new(
            context, observed.listing.records, cache.functions
        )
    left = {
        finding: Outcome(finding, _untouched(finding))
        for finding in findings
        if finding not in acted
    }
    outcomes = (*acted.values(), *left.values())
    if metrics is not None:
        metrics.completed(context, observed, outcomes, cache.functions)
    return outcomes


def _repeated(
    acted: Mapping[Finding, Outcome], findings: Iterable[Finding]
) -> dict[Finding, Outcome]:
    """Return what was acted on in vain: it is found again."""
    return {
        finding: Outcome(finding, Result.FAILED, _IN_VAIN)
        for finding in findings
        if finding in acted and acted[finding].result is Result.DONE
    }


def _untouched(finding: Finding) -> Result:
    return Result.PLANNED if finding.has_act else Result.LEFT


def observe(
    context: HostContext, cache: UnitCache, faults: tuple[HostFault, ...]
) -> Observation:
    """Return the host as it is now; change nothing, and take no lock.

    :raises Error: when the ledger or the journal cannot be read.
    """
    listing = context.ledger.listing(host=context.host)
    host = context.ledger.host(context.host)
    reason = "" if host is None else host.reason
    journal = context.journal.instances()
    holders = {record.consumer for record in listing.records}
    holders |= {i.uuid for i in journal if i.definition}
    answer = instance_sources.ask_libvirt(
        context.connect,
        lambda hypervisor: _guests(hypervisor, holders),
        instance_sources.LIBVIRT_ANSWER_S,
    )
    gone: tuple[GoneInstance, ...] = ()
    guests: tuple[RunningGuest, ...] | Unknown
    if isinstance(answer, Unknown):
        guests = answer
    else:
        domains, guests = answer
        gone = _gone(context, listing, journal, domains)
    units = _units(context, cache)
    return Observation(
        host=context.host,
        listing=listing,
        instances=journal,
        ended=frozenset(entry.uuid for entry in context.ended.entries()[0]),
        guests=guests,
        gone=gone,
        units=units,
        faults=faults,
        marked=reason if agent_state.is_lost_or_fenced(reason) else "",
        suspicions=suspect_units.suspects(
            context, listing.records, cache.functions
        ),
        due_checks=suspect_units.due_checks(context, listing.records),
    )


def _gone(
    context: HostContext,
    listing: UnitListing,
    journal: Sequence[Instance],
    domains: Sequence[LibvirtDomain],
) -> tuple[GoneInstance, ...]:
    """Return the instances whose guest is gone.

    Only this host's units are read: a ledger may have many hosts.
    """
    observed = ObservedInstances(
        context.host,
        _allocations(context, listing),
        listing.malformed,
        journal,
        domains,
    )
    judged = gone_instances.decide(
        observed, lambda unit: why_busy(context, unit)
    )
    return tuple(
        GoneInstance(one.record.uuid, one.reason) for one in judged.gone
    )


def _allocations(
    context: HostContext, listing: UnitListing
) -> tuple[Allocation, ...]:
    consumers = {record.consumer for record in listing.records}
    allocations = []
    for consumer in sorted(filter(None, consumers)):
        # What ended since the listing has none.
        with contextlib.suppress(errors.Refused):
            allocations.append(context.ledger.allocation(consumer))
    return tuple(allocations)


def _units(
    context: HostContext, cache: UnitCache
) -> tuple[Unit, ...] | Unknown:
    try:
        return cache.units(context)
    except errors.Error as error:
        return Unknown(Why.UNREADABLE, str(error))


def _guests(
    hypervisor: Hypervisor, holders: Collection[str | None]
) -> tuple[tuple[LibvirtDomain, ...], tuple[RunningGuest, ...]]:
    """Return every domain, and what those that run have."""
    domains = instance_sources.domains_of(hypervisor, holders)
    return domains, tuple(
        _guest(domain, hypervisor.live_xml(domain.uuid))
        for domain in domains
        if domain.is_active
    )


def _guest(domain: LibvirtDomain, xml: str | None) -> RunningGuest:
    """Return what a guest takes; nothing if it ended meanwhile."""
    taken: HostFunctions | None = _NO_FUNCTIONS
    if xml is not None:
        try:
            root = domain_xml.tree(xml.encode(), domain.uuid).getroot()
            taken = host_functions(root)
        except errors.Invalid:
            taken = None
    return RunningGuest(domain.uuid, domain.name, taken)


def _acted(
    context: HostContext, findings: Iterable[Finding]
) -> dict[Finding, Outcome]:
    """Act on findings, in their order: each act once, whatever it is for."""
    results: dict[tuple[object, ...], tuple[Result, str]] = {}
    outcomes = {}
    for finding in findings:
        key = finding.act, finding.consumer or finding.units
        if key not in results:
            try:
                _act(context, finding)
                results[key] = Result.DONE, ""
            except errors.Error as error:
                results[key] = Result.FAILED, str(error)
        outcomes[finding] = Outcome(finding, *results[key])
    return outcomes


def _act(context: HostContext, finding: Finding) -> None:
    if finding.act is Act.RECORD:
        _record(context, finding)
    elif finding.act is Act.QUARANTINE:
        release.quarantine_unused(context, finding.consumer, finding.units)
    elif finding.act is Act.RELEASE:
        release.release_if_gone(context, finding.consumer)
    elif finding.act is Act.PUBLISH:
        inventory.publish(context)
    elif finding.act is Act.CLEAN:
        fence.clean(context, finding.units)
    elif finding.act is Act.FORGET:
        fence.forget(context, finding.consumer)
    elif finding.act is Act.UNCORDON:
        lost_hosts.offer(context.ledger, context.host)
    elif finding.act in suspect_units.ACTS:
        suspect_units.settle(context, finding)
    else:
        with locked_and_recovered(context):
            pass


def _record(context: HostContext, finding: Finding) -> None:
    """Claim units for the guest that has them, and make them active.

    :raises Refused: when another consumer was faster, or the guest holds
        other units already.
    """
    with context.lock():
        claimed = context.ledger.claim_units(
            finding.units, finding.consumer, finding.request
        )
        for record in claimed.units:
            if record.state is State.CLAIMED:
                context.ledger.move(record, State.ACTIVE)
        context.say(
            f"recorded {', '.join(map(str, finding.units))} as active for"
            f" {finding.consumer}"
        )
