"""What the passes of an agent leave for its metrics."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent import metrics
from gpu_passthrough_plugin.agent.metrics import PassSnapshot
from gpu_passthrough_plugin.discovery import function_health
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.metric import MetricFamily
from gpu_passthrough_plugin.model.reading import Unknown

if TYPE_CHECKING:
    from gpu_passthrough_plugin.agent.observation import Observation
    from gpu_passthrough_plugin.flow.agent import Outcome
    from gpu_passthrough_plugin.flow.context import HostContext
    from gpu_passthrough_plugin.host.event_counters import EventCounters


class PassMetrics:
    """One a process; ``snapshot`` is replaced whole at the end of a pass.

    :param counters: what all processes of this host count.
    """

    def __init__(self, counters: EventCounters) -> None:
        self.snapshot = PassSnapshot()
        self._counters = counters
        self._stages_s: dict[str, float] = {}
        self._passes: collections.Counter[str] = collections.Counter()
        self._transitions: collections.Counter[tuple[str, str]] = (
            collections.Counter()
        )
        self._since_us = time.time_ns() // 1000
        self._generations: object = None

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage of a pass; a pass may have it several times."""
        begun_s = time.monotonic()
        try:
            yield
        finally:
            took_s = time.monotonic() - begun_s
            self._stages_s[name] = self._stages_s.get(name, 0.0) + took_s

    def completed(
        self,
        context: HostContext,
        observed: Observation,
        outcomes: Iterable[Outcome],
        functions: Iterable[Function],
    ) -> None:
        """Take what a pass found, and what became of that."""
        self._passes["completed"] += 1
        self._count_transitions(context, observed)
        unreadable = set()
        if isinstance(observed.guests, Unknown):
            unreadable.add("libvirt")
        if isinstance(observed.units, Unknown):
            unreadable.add("kernel")
        self.snapshot = PassSnapshot(
            host=context.host,
            records=observed.listing.records,
            malformed=len(observed.listing.malformed),
            transitions=dict(self._transitions),
            events=self._counters.read(),
            findings=collections.Counter(
                (str(outcome.finding.case), str(outcome.result))
                for outcome in outcomes
            ),
            stages_s=dict(self._stages_s),
            passes=dict(self._passes),
            completed_s=time.time(),
            unreadable=frozenset(unreadable),
            healths={
                function.address: function_health.health(
                    context.tree, function.address
                )
                for function in functions
                if discovery.is_on_vfio(context.tree, function) is True
            },
        )
        self._stages_s.clear()

    def failed(self) -> None:
        """Take that no pass was possible: the ledger cannot be read.

        What the pass before left stays.
        """
        self._passes["failed"] += 1
        self._stages_s.clear()
        self.snapshot = dataclasses.replace(
            self.snapshot,
            events=self._counters.read(),
            passes=dict(self._passes),
            unreadable=frozenset({"ledger"}),
        )

    def families(self) -> tuple[MetricFamily, ...]:
        """Return what the passes up to now left, as families."""
        return metrics.families(self.snapshot)

    def _count_transitions(
        self, context: HostContext, observed: Observation
    ) -> None:
        """Count the events since the pass before, where a unit changed.

        A ledger may keep its events in a file that takes long to read.
        """
        generations = tuple(
            (record.unit.key, record.generation)
            for record in observed.listing.records
        )
        if generations == self._generations:
            return
        query = EventQuery(context.host, since_us=self._since_us + 1)
        # They are counted in the next pass then.
        with contextlib.suppress(errors.Error):
            for event in context.ledger.events(query).events:
                transition = event.transition
                if transition.address:
                    key = transition.before, transition.after
                    self._transitions[key] += 1
                self._since_us = max(self._since_us, event.time_us)
            self._generations = generations
