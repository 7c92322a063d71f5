"""Read what the ledger, this host's journal and libvirt have of instances.

libvirt is asked for a bounded time.  What it does not answer is unknown.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.compute import instance_names, instances
from gpu_passthrough_plugin.compute.instances import (
    ObservedInstances,
)
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import host_functions
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.guest import LibvirtDomain
from gpu_passthrough_plugin.model.instance import (
    Instance,
    InstanceRecord,
    NamedInstance,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.unit import State

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor

T = TypeVar("T")

LIBVIRT_ANSWER_S = 5
"""How long libvirt may take to answer what only informs."""

# A list reads no more of them: older instances have no time then.
_NEWEST_EVENTS = 2000

ANOTHER_HOST = Unknown(
    Why.MISSING, "the host that is read is not the one that this runs on"
)


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceSources:
    """Where instances are recorded, for commands that only read these.

    :param host: this host's name in the ledger.
    :param journal: of this host; None where another host is read.
    :param connect: returns a context manager with a libvirt connection; None
        where another host is read.
    """

    host: str
    ledger: LedgerDriver
    journal: InstanceJournal | None
    connect: Callable[[], AbstractContextManager[Hypervisor]] | None
    answer_s: float = LIBVIRT_ANSWER_S


def sources(context: HostContext) -> InstanceSources:
    """Return the sources of a host that is acted on."""
    return InstanceSources(
        context.host, context.ledger, context.journal, context.connect
    )


def ask_libvirt(
    connect: Callable[[], AbstractContextManager[Hypervisor]],
    question: Callable[[Hypervisor], T],
    limit_s: float,
) -> T | Unknown:
    """Return libvirt's answer; unknown if there is none within the limit.

    The question is put in another thread, because it may never be answered.
    """
    answers: list[T] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            with connect() as hypervisor:
                answers.append(question(hypervisor))
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(limit_s)
    if answers:
        return answers[0]
    if not failures:
        return Unknown(
            Why.MISSING, f"libvirt gave no answer within {limit_s:g} s"
        )
    if not isinstance(failures[0], errors.Error):
        raise failures[0]
    return Unknown(Why.UNREADABLE, str(failures[0]))


def observe(where: InstanceSources) -> ObservedInstances:
    """Return all that is recorded of instances, and what libvirt has."""
    allocations = where.ledger.allocations()
    malformed = where.ledger.listing().malformed
    journal = _journal(where)
    written_s = _written_s(where, journal)
    holders = {a.consumer for a in allocations if a.host == where.host}
    if not isinstance(journal, Unknown):
        holders |= {i.uuid for i in journal if i.definition}
    domains = _domains(where, holders)
    return ObservedInstances(
        where.host, allocations, malformed, journal, domains, written_s
    )


def _journal(where: InstanceSources) -> tuple[Instance, ...] | Unknown:
    if where.journal is None:
        return ANOTHER_HOST
    try:
        return where.journal.instances()
    except errors.Error as error:
        return Unknown(Why.UNREADABLE, str(error))


def _written_s(
    where: InstanceSources, journal: Collection[Instance] | Unknown
) -> dict[str, float]:
    times: dict[str, float] = {}
    if where.journal is None or isinstance(journal, Unknown):
        return times
    for instance in journal:
        try:
            written_s = where.journal.written_s(instance.uuid)
        except errors.Unavailable:
            continue
        if written_s is not None:
            times[instance.uuid] = written_s
    return times


def _domains(
    where: InstanceSources, holders: Collection[str]
) -> tuple[LibvirtDomain, ...] | Unknown:
    """Return libvirt's domains, with the definitions of those with units."""
    if where.connect is None:
        return ANOTHER_HOST

    return ask_libvirt(
        where.connect,
        lambda hypervisor: domains_of(hypervisor, holders),
        where.answer_s,
    )


def domains_of(
    hypervisor: Hypervisor, holders: Collection[str | None]
) -> tuple[LibvirtDomain, ...]:
    """Return every domain, with the definitions of those that hold units."""
    return tuple(
        _defined(hypervisor, domain) if domain.uuid in holders else domain
        for domain in hypervisor.domains()
    )


def _defined(hypervisor: Hypervisor, domain: LibvirtDomain) -> LibvirtDomain:
    """Return a domain with the functions that its definition takes."""
    if not domain.is_persistent:
        return domain
    functions: frozenset[Address] | Unknown = frozenset()
    xml = hypervisor.defined_xml(domain.uuid)
    if xml is not None:
        functions = _defined_functions(xml)
    return dataclasses.replace(domain, defined_functions=functions)


def _defined_functions(xml: str) -> frozenset[Address] | Unknown:
    try:
        root = domain_xml.tree(xml.encode(), "its definition").getroot()
    except errors.Invalid as error:
        return Unknown(Why.MALFORMED, str(error))
    taken = host_functions(root)
    if taken.unreadable:
        return Unknown(
            Why.MALFORMED,
            f"it may take a function that is not identified: {taken.doubts}",
        )
    return frozenset(taken.addresses)


def records(
    where: InstanceSources, say: Callable[[str], None]
) -> tuple[InstanceRecord, ...]:
    """Return every instance of every host.

    :param say: called with a line for each source that cannot be read.
    """
    observed = observe(where)
    active_s = _active_s(where, EventQuery(limit=_NEWEST_EVENTS))
    return _said(dataclasses.replace(observed, active_s=active_s), say)


def record(
    where: InstanceSources, text: str, say: Callable[[str], None]
) -> InstanceRecord:
    """Return the instance that an operator names.

    :raises Refused: when there is none, or it holds nothing.
    """
    observed = observe(where)
    uuid, _ = instance_names.resolve(text, observed, is_destructive=False)
    active_s = _active_s(
        where, EventQuery(consumer=uuid, limit=_NEWEST_EVENTS)
    )
    observed = dataclasses.replace(observed, active_s=active_s)
    for instance in _said(observed, say):
        if instance.uuid == uuid:
            return instance
    # The ledger words this refusal.
    allocation = where.ledger.allocation(uuid)
    raise errors.Conflict(
        f"{uuid} was claimed on {allocation.host} just now; run this again"
    )


def _active_s(where: InstanceSources, query: EventQuery) -> dict[str, float]:
    """Return when units became active for their consumers, if recorded."""
    try:
        events = where.ledger.events(query).events
    except errors.Error:
        return {}
    return {
        event.transition.consumer: event.time_us / 1_000_000
        for event in events
        if event.transition.consumer and event.transition.after == State.ACTIVE
    }


def _said(
    observed: ObservedInstances, say: Callable[[str], None]
) -> tuple[InstanceRecord, ...]:
    """Return every instance; say what is unknown of them."""
    for unread, what in (
        (observed.journal, "names and start times"),
        (observed.domains, "states of guests"),
    ):
        if isinstance(unread, Unknown) and unread is not ANOTHER_HOST:
            say(f"warning: {what} are unknown: {unread.detail}")
    return instances.instance_records(observed)


def resolve(
    where: InstanceSources, text: str, *, is_destructive: bool
) -> NamedInstance:
    """Return the one instance that an operator names.

    :param text: a UUID, the beginning of one, or a guest's name.
    :raises Error: as ``instance_names.resolve`` does.
    """
    uuid = instance_names.whole_uuid(text)
    if uuid is not None:
        return NamedInstance(uuid, _name(where, uuid))
    return instance_names.resolve(
        text, observe(where), is_destructive=is_destructive
    )


def named(where: InstanceSources, uuid: str) -> NamedInstance:
    """Return an instance with its name by the journal, else by libvirt."""
    name = _name(where, uuid)
    if not name:
        domains = _domains(where, ())
        if not isinstance(domains, Unknown):
            name = next((d.name for d in domains if d.uuid == uuid), "")
    return NamedInstance(uuid, name)


def _name(where: InstanceSources, uuid: str) -> str:
    """Return the name in this host's journal; empty where it has none.

    Neither the ledger nor libvirt is asked: the libvirt hook waits for
    commands that are given a UUID.
    """
    if where.journal is None:
        return ""
    try:
        instance = where.journal.read(uuid)
    except errors.Error:
        return ""
    return instance.name if instance else ""
