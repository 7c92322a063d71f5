"""Refusals of the ledger contract: which error, in which words.

Every driver raises these, so that an operator reads the same sentence
whichever ledger is configured.  Each function returns the error; the
caller raises it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import shortfall
from gpu_passthrough_plugin.allocation.shortfall import (
    Apart,
    ItemShortfall,
    Kept,
    Obstacle,
    Scope,
    Shortfall,
)
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.request import Alias, Request
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord

MAX_COUNTED_UNITS = 2000
"""``no_valid_host`` counts no more units: a refusal has to stay cheap."""

# Of one obstacle: more of them are summed up.
_MAX_DETAILS = 3
_MAX_REASON = 80

_SEE_HOSTS = "see 'gpu-passthrough inventory hosts'"
_SEE_UNITS = "see 'gpu-passthrough inventory list'"


def no_valid_host(
    request: Request,
    host: str | None,
    hosts: Collection[HostRecord],
    records: Collection[UnitRecord] | None,
) -> errors.NoValidHost:
    """Return why no host, or not the named one, can satisfy a request.

    :param host: the only host that the claim may use; None for any.
    :param hosts: the hosts of the ledger; the named one is enough.
    :param records: the units of these hosts; None leaves the numbers out.
    """
    subject = "no host can" if host is None else f"host {host} cannot"
    cause = shortfall.explain(request, host, hosts, records)
    return errors.NoValidHost(f"{subject} satisfy {request}: {_cause(cause)}")


def _cause(cause: Shortfall) -> str:
    """Return a shortfall as text."""
    if cause.scope is not None:
        return _scope(cause, cause.scope)
    unmatched = [i for i in cause.items if not i.units]
    if unmatched:
        where = "" if cause.host is None else f" of host {cause.host}"
        ids = "; ".join(
            f"no unit{where}{_within(cause)} has the ids of alias"
            f" {i.item.alias.name} ({_ids(i.item.alias)})"
            for i in unmatched
        )
        return (
            f"{ids}; units have {_several(cause.ids)}; compare [pci] alias"
            " with 'gpu-passthrough inventory list'"
        )
    named = len(cause.items) > 1
    parts = [
        (f"{i.item.alias.name}: " if named else "") + _item(i, _within(cause))
        for i in cause.items
    ]
    kept = [kept.obstacle for i in cause.items for kept in i.kept]
    if Obstacle.NUMA_NODE in kept:
        parts.append(_requested_nodes(cause))
    if cause.apart is not None:
        parts.append(_apart(cause, cause.apart))
    if cause.apart is Apart.NOTHING:
        return "; ".join(parts)
    return f"{'; '.join(parts)}; {_SEE_UNITS}"


def _requested_nodes(cause: Shortfall) -> str:
    nodes = sorted(cause.request.numa_nodes or ())
    requested = f"requested: NUMA node {' or '.join(map(str, nodes))}"
    if not cause.absent_nodes:
        return requested
    absent = ", ".join(map(str, sorted(cause.absent_nodes)))
    present = ", ".join(map(str, sorted(cause.nodes))) or "none"
    return f"{requested}; no unit is on node {absent}, only on: {present}"


def _within(cause: Shortfall) -> str:
    aggregate = cause.request.aggregate
    return "" if aggregate is None else f" in aggregate {aggregate}"


def _scope(cause: Shortfall, scope: Scope) -> str:
    """Return why no unit was looked at."""
    host, aggregate = cause.host, cause.request.aggregate
    match scope:
        case Scope.NO_SUCH_HOST:
            return f"the ledger has no host {host}; {_SEE_HOSTS}"
        case Scope.NO_HOSTS:
            return (
                "no host has published units; run 'gpu-passthrough inventory"
                " sync' on each host"
            )
        case Scope.NOT_IN_AGGREGATE if host is None:
            return (
                f"no host is in aggregate {aggregate} (aggregates of the"
                f" hosts: {_several(sorted(cause.aggregates))}); {_SEE_HOSTS}"
            )
        case Scope.NOT_IN_AGGREGATE:
            return (
                f"host {host} is not in aggregate {aggregate} (it is in:"
                f" {_several(sorted(cause.aggregates))}); {_SEE_HOSTS}"
            )
        case Scope.NO_UNITS:
            subject = "no host" if host is None else f"host {host}"
            verb = "has" if host is None else "has no"
            return (
                f"{subject}{_within(cause)} {verb} units; run 'gpu-passthrough"
                " group list' there to see why"
            )
        case Scope.UNCOUNTED:
            return (
                f"too few matching units{_within(cause)} are free;"
                f" {_SEE_UNITS}"
            )


def _ids(alias: Alias) -> str:
    """Return the ids that an alias names, such as ``10de:1430``."""
    return _several(
        sorted(
            {
                " ".join(
                    [
                        f"{_hex(spec.vendor_id)}:{_hex(spec.product_id)}",
                        *(
                            [spec.resource_class]
                            if spec.resource_class
                            else []
                        ),
                    ]
                )
                for spec in alias.specs
            }
        )
    )


def _hex(number: int | None) -> str:
    return "*" if number is None else f"{number:04x}"


def _several(texts: Sequence[str], most: int = 6) -> str:
    """Return the first of several texts, and how many more there are."""
    if not texts:
        return "none"
    shown = ", ".join(texts[:most])
    left = len(texts) - most
    return f"{shown} and {left} more" if left > 0 else shown


def _item(item: ItemShortfall, within: str) -> str:
    """Return how many units have an item's ids, and what keeps each."""
    noun = "unit has" if item.units == 1 else "units have"
    parts = []
    if item.free:
        counted = (
            f" ({item.functions} functions)"
            if item.functions != item.free
            else ""
        )
        parts.append(f"{item.free} free{counted}")
    for obstacle in Obstacle:
        kept = [k for k in item.kept if k.obstacle is obstacle]
        if len(kept) <= _MAX_DETAILS:
            parts += [f"{k.units} {_kept(k, item)}" for k in kept]
        else:
            units = sum(k.units for k in kept)
            parts.append(f"{units} {_SUMMARIES[obstacle]}")
    return f"{item.units} {noun} these ids{within}: {', '.join(parts)}"


def _kept(kept: Kept, item: ItemShortfall) -> str:
    """Return what keeps units from a request."""
    is_one, details = kept.units == 1, kept.details
    match kept.obstacle:
        case Obstacle.COMPANION:
            return (
                f"{'has' if is_one else 'have'} them only in a companion"
                " function, which no alias counts"
            )
        case Obstacle.DEVICE_TYPE:
            types = sorted({s.device_type for s in item.item.alias.specs})
            return (
                f"{'is' if is_one else 'are'} {details[0]} and the alias asks"
                f" for {' or '.join(types)}"
            )
        case Obstacle.TRAITS_LACKING:
            verb = "lacks" if is_one else "lack"
            return f"{verb} {' and '.join(details)}"
        case Obstacle.TRAITS_FORBIDDEN:
            verb = "has" if is_one else "have"
            return f"{verb} the forbidden {' and '.join(details)}"
        case Obstacle.HELD:
            state, consumer = details
            return f"{state} for {consumer}" if consumer else state
        case Obstacle.QUARANTINED:
            return f"quarantined{_because(details[0])}"
        case Obstacle.MISSING:
            return "missing"
        case Obstacle.NUMA_NODE:
            return f"on NUMA node {details[0]}" if details else "on no node"
        case Obstacle.CORDONED:
            return f"on host {details[0]}, cordoned{_because(details[1])}"


_SUMMARIES = {
    Obstacle.COMPANION: "only in companion functions",
    Obstacle.DEVICE_TYPE: "of another device type",
    Obstacle.TRAITS_LACKING: "without the alias's traits",
    Obstacle.TRAITS_FORBIDDEN: "with forbidden traits",
    Obstacle.HELD: "held by several consumers",
    Obstacle.QUARANTINED: "quarantined",
    Obstacle.MISSING: "missing",
    Obstacle.NUMA_NODE: "on other NUMA nodes",
    Obstacle.CORDONED: "on cordoned hosts",
}


def _because(reason: str) -> str:
    """Return a reason that an operator wrote, in one short line."""
    line = " ".join(reason.split())
    if len(line) > _MAX_REASON:
        line = f"{line[: _MAX_REASON - 1]}…"
    return f": {line}" if line else ""


def _apart(cause: Shortfall, apart: Apart) -> str:
    """Return why free units do not satisfy a request together."""
    match apart:
        case Apart.HOSTS:
            name, functions = cause.most or ("", 0)
            return (
                "no host has enough of them (the most:"
                f" {functions} on host {name})"
            )
        case Apart.SWITCH:
            return "those of one host are not below one PCIe switch"
        case Apart.NUMA:
            return "those of one host do not keep the NUMA policy requested"
        case Apart.NUMA_AND_SWITCH:
            return (
                "those of one host are not below one PCIe switch, and do not"
                " keep the NUMA policy requested"
            )
        case Apart.SAME_FUNCTIONS:
            return "the same functions would have to count for two aliases"
        case Apart.NOTHING:
            return (
                "these are enough; another client has reserved or changed"
                " them meanwhile: try again"
            )


def claim_lost(request: str) -> errors.Conflict:
    """Return the error of a claim whose every choice others took first."""
    return errors.Conflict(
        f"other clients took the units that {request} needs at each attempt;"
        " try again"
    )


def consumer_invalid(text: str) -> errors.Invalid:
    """Return the error of a consumer that is not a UUID."""
    return errors.Invalid(
        f"consumer {text!r} is not a UUID; expected such as"
        " 5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
    )


def consumer_holds_nothing(consumer: str) -> errors.Refused:
    """Return the error of a question about units that nobody holds."""
    return errors.Refused(
        f"consumer {consumer} holds nothing; see"
        " 'gpu-passthrough allocation list'"
    )


def consumer_holds_other(
    consumer: str, held: str, host: str
) -> errors.Refused:
    """Return the error of a claim by a consumer that holds other units.

    :param held: the request by which it holds them.
    """
    return errors.Refused(
        f"consumer {consumer} already holds {held} on host {host};"
        f" run 'gpu-passthrough allocation delete {consumer}' first, or, where"
        f" an instance uses it, 'gpu-passthrough instance release {consumer}'"
    )


def host_unknown(host: str) -> errors.Refused:
    """Return the error of a host that never published units."""
    return errors.Refused(f"the ledger has no host {host}; {_SEE_HOSTS}")


def host_cordoned(host: str, reason: str) -> errors.Refused:
    """Return the error of a claim for units of a cordoned host."""
    because = f" ({reason})" if reason else ""
    return errors.Refused(f"host {host} is cordoned{because}; {_SEE_HOSTS}")


def cordon_changed(host: HostRecord) -> errors.Conflict:
    """Return the error of a change of a cordon that another client made."""
    now = f"cordoned ({host.reason})" if host.is_cordoned else "not cordoned"
    return errors.Conflict(
        f"another client changed host {host.name} meanwhile, which is {now}"
        " now; try again"
    )


def host_name_taken(host: str) -> errors.Refused:
    """Return the error of publishing under another machine's host name."""
    return errors.Refused(
        f"another machine already published units as host {host}; give this"
        " machine a different name ([DEFAULT] host), or, if it replaces the"
        " other machine, run 'gpu-passthrough inventory sync --replace'"
    )


def inventory_lost(host: str) -> errors.Conflict:
    """Return the error of publishing that others prevented each time."""
    return errors.Conflict(
        f"other clients changed the inventory of host {host} at each"
        " attempt; try again"
    )


def unit_unknown(key: UnitKey) -> errors.Refused:
    """Return the error of a unit that the ledger does not have."""
    return errors.Refused(f"the ledger has no unit {key}; {_SEE_UNITS}")


def unit_not_free(record: UnitRecord) -> errors.Conflict:
    """Return the error of claiming a given unit that is not offered."""
    state = str(record.state)
    if record.consumer is not None:
        state += f" for {record.consumer}"
    if record.state is State.QUARANTINED:
        state += _because(record.reason)
    if record.state is State.FREE:
        state = "changed by another client"
        if record.is_missing:
            state = "missing"
    return errors.Conflict(
        f"unit {record.unit.key} is not free ({state}); {_SEE_UNITS}"
    )


def unit_only_claimed(key: UnitKey) -> errors.Refused:
    """Return the error of moving a free unit to ``claimed``."""
    return errors.Refused(
        f"unit {key} is free, and only a claim for a consumer takes a free"
        " unit; run 'gpu-passthrough allocation create'"
    )


def unit_cannot_become(
    record: UnitRecord, state: State, possible: Sequence[State]
) -> errors.Refused:
    """Return the error of a move that a unit's life does not have.

    :param possible: the states that it can reach.
    """
    return errors.Refused(
        f"unit {record.unit.key} is {record.state} and cannot become {state};"
        f" possible: {', '.join(possible)}"
    )


def unit_changed(
    record: UnitRecord, state: State, generation: int
) -> errors.Conflict:
    """Return the error of a move by an outdated record.

    :param state: and ``generation``: those that the ledger has.
    """
    return errors.Conflict(
        f"unit {record.unit.key} is now {state} at generation {generation},"
        f" no longer {record.state} at generation {record.generation}; read"
        " the unit again"
    )
