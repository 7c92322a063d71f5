"""Which events each change of a ledger leaves, whichever driver makes it.

``HostEvents`` writes them for a ledger that keeps none itself: after the
change, so that what a process did just before it was killed may be missing.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.inventory import (
    InventoryPlan,
    RecordChange,
)
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    HostRecord,
    MalformedUnit,
    SyncReport,
)
from gpu_passthrough_plugin.model.event import (
    ABSENT,
    CORDONED,
    MALFORMED,
    OFFERED,
    Event,
    EventLog,
    Transition,
)
from gpu_passthrough_plugin.model.unit import State, Unit, UnitKey, UnitRecord

_LOG = logging.getLogger(__name__)

_PUBLISHED = "published by its host"
_WITHDRAWN = "its host no longer publishes it"
_MISSING = "its host no longer shows it as it was published"
_SHOWN = "its host shows it again"


def moved(before: UnitRecord, after: UnitRecord, reason: str) -> Transition:
    """Return the transition of a unit that moved along an edge of its life.

    :param reason: why, in any state.
    """
    return _transition(
        after.unit.key,
        before.state,
        after.state,
        after.generation,
        before.consumer or after.consumer,
        reason,
    )


def claimed(allocation: Allocation) -> tuple[Transition, ...]:
    """Return the transitions of units that a claim has just got."""
    return tuple(
        _transition(
            record.unit.key,
            State.FREE,
            State.CLAIMED,
            record.generation,
            allocation.consumer,
            allocation.request,
        )
        for record in allocation.units
        # A claim that is repeated may return units that moved on since.
        if record.state is State.CLAIMED
    )


def published(
    plan: InventoryPlan,
    added: Iterable[UnitRecord],
    malformed: Iterable[MalformedUnit] = (),
) -> tuple[Transition, ...]:
    """Return the transitions of a publication.

    :param added: the records of the units that the plan adds.
    :param malformed: units that were dropped because their records were.
    """
    return (
        *(
            Transition(
                dropped.host, dropped.address, MALFORMED, ABSENT, 0, None,
                f"its record was malformed: {dropped.problem}",
            )
            for dropped in malformed
        ),
        *(
            _transition(
                record.unit.key, record.state, ABSENT, record.generation,
                None, _WITHDRAWN,
            )
            for record in plan.removed
        ),
        *(t for change in plan.changed for t in _changed(change)),
        *(
            _transition(
                record.unit.key, ABSENT, record.state, record.generation,
                None, record.reason or _PUBLISHED,
            )
            for record in added
        ),
    )  # fmt: skip


def _changed(change: RecordChange) -> Iterator[Transition]:
    """Yield a transition if the state of a unit changed, or what it shows."""
    before, after = change.before, change.after
    reason = ""
    if before.is_missing != after.is_missing:
        reason = _MISSING if after.is_missing else _SHOWN
    if before.state is not after.state:
        reason = after.reason
    if reason:
        yield moved(before, after, reason)


def cordoned(
    host: HostRecord, was_cordoned: bool | None, old_reason: str = ""
) -> tuple[Transition, ...]:
    """Return the transition of a host that was cordoned or uncordoned.

    :param host: afterwards.
    :param was_cordoned: None when not known.
    """
    if (was_cordoned, old_reason) == (host.is_cordoned, host.reason):
        return ()
    before = CORDONED if was_cordoned else OFFERED
    return (
        Transition(
            host.name,
            "",
            "" if was_cordoned is None else before,
            CORDONED if host.is_cordoned else OFFERED,
            host.generation,
            None,
            host.reason,
        ),
    )


def reported(report: SyncReport) -> tuple[Transition, ...]:
    """Return the transitions of a report, whichever driver made it."""
    if report.transitions is not None:
        return report.transitions
    changes: tuple[tuple[Sequence[Unit], str, str, str], ...] = (
        (report.removed, State.FREE, ABSENT, _WITHDRAWN),
        (report.missing, "", "", _MISSING),
        (report.added, ABSENT, State.FREE, _PUBLISHED),
    )
    return tuple(
        _transition(unit.key, before, after, report.generation, None, reason)
        for units, before, after, reason in changes
        for unit in units
    )


def _transition(
    key: UnitKey,
    before: str,
    after: str,
    generation: int,
    consumer: str | None,
    reason: str,
) -> Transition:
    return Transition(
        key.host,
        str(key.address),
        str(before),
        str(after),
        generation,
        consumer,
        reason,
    )


def stamped(
    transitions: Iterable[Transition],
    ledger: LedgerDriver,
    settings: LedgerSettings,
) -> list[Event]:
    """Return the events of transitions that happen now."""
    time_us = time.time_ns() // 1000
    actor = ledger.actor_of(settings)
    return [
        Event(
            time_us,
            transition,
            ledger.consumer_name(transition.consumer),
            actor,
        )
        for transition in transitions
    ]


class HostEvents:
    """Keeps the events of a ledger in this host's event log."""

    def __init__(
        self, ledger: LedgerDriver, settings: LedgerSettings, log: EventLog
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._log = log

    def attach(self) -> None:
        """Have the ledger's changes leave events from now on."""
        for name, changed in self._changes().items():
            act = getattr(self._ledger, name)
            setattr(self._ledger, name, self._recording(act, changed))
        setattr(self._ledger, "events", self._log.read)  # noqa: B010 - a method

    def _changes(self) -> dict[str, Callable[..., tuple[Transition, ...]]]:
        """Return the transitions of a result, by the method's name."""
        return {
            "claim": lambda allocation, *_, **__: claimed(allocation),
            "claim_units": lambda allocation, *_, **__: claimed(allocation),
            "publish": lambda report, *_, **__: reported(report),
            "cordon": lambda host, *_, **__: cordoned(host, None),
            "uncordon": lambda host, *_, **__: cordoned(host, None),
            "move": lambda after, before, *_, reason="", **__: (
                moved(before, after, reason),
            ),
        }

    def _recording(
        self,
        act: Callable[..., Any],
        transitions: Callable[..., tuple[Transition, ...]],
    ) -> Callable[..., Any]:
        @functools.wraps(act)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            result = act(*args, **kwargs)
            self._append(transitions(result, *args, **kwargs))
            return result

        return recorded

    def _append(self, transitions: Sequence[Transition]) -> None:
        """Write events; a change that was made is not undone for them."""
        if not transitions:
            return
        events = stamped(transitions, self._ledger, self._settings)
        try:
            self._log.append(events)
        except errors.Unavailable as error:
            names = ", ".join(
                f"{event.unit} {event.transition.after}" for event in events
            )
            _LOG.warning("not in the audit record (%s): %s", names, error)
