"""Refusals of the ledger contract: which error, in which words.

Every driver raises these, so that an operator reads the same sentence
whichever ledger is configured.  Each function returns the error; the
caller raises it.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.request import Item, Request
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord

MAX_COUNTED_UNITS = 2000
"""``no_valid_host`` counts no more units: a refusal has to stay cheap."""

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
    return errors.NoValidHost(
        f"{subject} satisfy {request}:"
        f" {_reason(request, host, hosts, records)}"
    )


def _reason(
    request: Request,
    host: str | None,
    hosts: Collection[HostRecord],
    records: Collection[UnitRecord] | None,
) -> str:
    hosts = [h for h in hosts if host in (None, h.name)]
    if host is not None and not hosts:
        return f"the ledger has no host {host}; {_SEE_HOSTS}"
    if not hosts:
        return (
            "no host has published units; run 'gpu-passthrough inventory sync'"
            " on each host"
        )
    if request.aggregate is not None:
        hosts = [h for h in hosts if request.aggregate in h.aggregates]
        if not hosts:
            subject = "no host is" if host is None else f"host {host} is not"
            return f"{subject} in aggregate {request.aggregate}; {_SEE_HOSTS}"
    within = ""
    if request.aggregate is not None:
        within = f" in aggregate {request.aggregate}"
    if records is None:
        return f"too few matching units{within} are free; {_SEE_UNITS}"
    counts = [_Count(request, item, hosts, records) for item in request.items]
    unmatched = [c.alias for c in counts if not c.units]
    if unmatched:
        of_host = within if host is None else f" of host {host}"
        return (
            f"no unit{of_host} matches alias {', '.join(unmatched)}; compare"
            " [pci] alias with 'gpu-passthrough inventory list'"
        )
    names = [f"{c.alias}: " if len(counts) > 1 else "" for c in counts]
    shown = "; ".join(
        f"{name}{count.shown(within)}"
        for name, count in zip(names, counts, strict=True)
    )
    if all(c.is_enough for c in counts):
        shown += ", but not" if host else ", but not on one host"
        shown += " within the NUMA policy and switch requested"
    return f"{shown}; {_SEE_UNITS}"


class _Count:
    """How many units match one item of a request, and what keeps each.

    :param hosts: whose units count.
    """

    def __init__(
        self,
        request: Request,
        item: Item,
        hosts: Iterable[HostRecord],
        records: Iterable[UnitRecord],
    ) -> None:
        is_cordoned = {h.name: h.is_cordoned for h in hosts}
        self.alias = item.alias.name
        self.units = self._free = free_functions = 0
        self._states: dict[State, int] = collections.Counter()
        self._missing = 0
        self._cordoned: dict[str, int] = collections.Counter()
        for record in records:
            name = record.unit.key.host
            functions = _matching(request, item, record)
            if name not in is_cordoned or not functions:
                continue
            self.units += 1
            if record.state is not State.FREE:
                self._states[record.state] += 1
            elif record.is_missing:
                self._missing += 1
            elif is_cordoned[name]:
                self._cordoned[name] += 1
            else:
                self._free += 1
                free_functions += functions
        self.is_enough = free_functions >= item.count

    def shown(self, within: str) -> str:
        """Return the numbers as text.

        :param within: where all of these units are, such as ``in X``.
        """
        noun = "unit" if self.units == 1 else "units"
        rest = ", ".join(self._rest())
        return (
            f"{self.units} matching {noun}{within}, {self._free} free"
            f"{f' ({rest})' if rest else ''}"
        )

    def _rest(self) -> Iterable[str]:
        for state in State:
            if self._states.get(state):
                yield f"{self._states[state]} {state}"
        if self._missing:
            yield f"{self._missing} missing"
        if self._cordoned:
            (name, *others) = self._cordoned
            hosts = f"cordoned host {name}"
            if others:
                hosts = f"{len(self._cordoned)} cordoned hosts"
            yield f"{sum(self._cordoned.values())} on {hosts}"


def _matching(request: Request, item: Item, record: UnitRecord) -> int:
    """How many functions of a unit could count for an item."""
    unit = record.unit
    if unit.traits & request.forbidden_traits:
        return 0
    return sum(item.alias.matches(f, unit.traits) for f in unit.functions)


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
    consumer: str, request: str, host: str
) -> errors.Refused:
    """Return the error of a claim by a consumer that holds other units.

    :param request: of the claim by which it holds them.
    """
    return errors.Refused(
        f"consumer {consumer} already holds {request} on host {host};"
        " release that before claiming anything else"
    )


def host_unknown(host: str) -> errors.Refused:
    """Return the error of a host that never published units."""
    return errors.Refused(f"the ledger has no host {host}; {_SEE_HOSTS}")


def host_cordoned(host: str, reason: str) -> errors.Refused:
    """Return the error of a claim for units of a cordoned host."""
    because = f" ({reason})" if reason else ""
    return errors.Refused(f"host {host} is cordoned{because}; {_SEE_HOSTS}")


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
    state = "missing" if record.is_missing else str(record.state)
    if record.state is State.FREE and not record.is_missing:
        state = "changed by another client"
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
