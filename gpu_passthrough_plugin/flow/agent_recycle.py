"""The end of a pass of the agent: devices that Nova used once.

Placement is asked after all else is done, so that one that is slow or silent
keeps nothing from being done.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent import one_time_use
from gpu_passthrough_plugin.agent.finding import Case, Finding
from gpu_passthrough_plugin.agent.one_time_use import WaitingDevices
from gpu_passthrough_plugin.flow import agent
from gpu_passthrough_plugin.flow.agent import Outcome, Result, UnitCache
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.recycle import recycle
from gpu_passthrough_plugin.model.one_time_use import (
    PciProvider,
    PciProviders,
    RecycleResult,
)
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.nova import recycling
from gpu_passthrough_plugin.nova.recycling import Waiting

# A Placement that did not answer is not asked by each pass that an event
# begins: it may take as long to fail.
_SILENCE_S = 60.0


class Recycling:
    """Recycles in each pass of a process.

    A device that was not clean after its reset is not reset in each pass:
    that is left to a person, or to the next start of the process.

    :param connect: returns Placement's providers; called once.
    :param host: Nova's name of this host's hypervisor.
    """

    def __init__(self, connect: Callable[[], PciProviders], host: str) -> None:
        self._connect = connect
        self._host = host
        self._connected: PciProviders | None = None
        self._silence: tuple[float, errors.Error] | None = None
        self._unclean: dict[frozenset[tuple[str, int]], str] = {}

    def close(self) -> None:
        """Close the connections."""
        if self._connected is not None:
            self._connected.close()

    def run(
        self, context: HostContext, cache: UnitCache, *, is_dry: bool = False
    ) -> tuple[Outcome, ...]:
        """Recycle what waits; return what was found, and became of it.

        :raises Error: when the ledger or the journal cannot be read.
        """
        try:
            connected, providers = self._read()
        except errors.Error as error:
            return (_unread(context.host, error),)
        if not any(provider.waits for provider in providers):
            return ()
        observed = agent.observe(context, cache, ())
        if isinstance(observed.units, Unknown):
            # The pass tells that.
            return ()
        outcomes = []
        for waiting in recycling.waiting(providers, observed.units):
            names = tuple(provider.name for provider in waiting.providers)
            devices = WaitingDevices(names, waiting.unit, waiting.why_left)
            finding = one_time_use.finding(observed, devices)
            if not finding.has_act:
                outcome = Outcome(finding, Result.LEFT)
            elif is_dry:
                outcome = Outcome(finding, Result.PLANNED)
            else:
                result, text = self._recycled(context, connected, waiting)
                outcome = Outcome(finding, result, text)
            outcomes.append(outcome)
        return tuple(outcomes)

    def _read(self) -> tuple[PciProviders, tuple[PciProvider, ...]]:
        if self._silence is not None and self._silence[0] > time.monotonic():
            raise self._silence[1]
        try:
            if self._connected is None:
                self._connected = self._connect()
            providers = self._connected.recent(self._host)
        except errors.Error as error:
            self._silence = (time.monotonic() + _SILENCE_S, error)
            raise
        self._silence = None
        return self._connected, providers

    def _recycled(
        self,
        context: HostContext,
        connected: PciProviders,
        waiting: Waiting,
    ) -> tuple[Result, str]:
        """Recycle the devices of a unit; return what became of that."""
        attempt = frozenset((p.uuid, p.generation) for p in waiting.providers)
        if attempt in self._unclean:
            return Result.FAILED, self._unclean[attempt]
        key = waiting.unit.key if waiting.unit else None
        try:
            recycled = recycle(
                context, connected, self._host, is_dry=False, only=key
            )
        except errors.Error as error:
            return Result.FAILED, str(error)
        for one in recycled:
            if one.is_unclean:
                self._unclean[attempt] = (
                    f"{one.detail}; check the device, then run"
                    " 'gpu-passthrough nova recycle'"
                )
                return Result.FAILED, self._unclean[attempt]
            if one.result is RecycleResult.LEFT:
                return Result.FAILED, one.detail
        return Result.DONE, ""


def _unread(host: str, error: errors.Error) -> Outcome:
    finding = Finding(
        Case.ONE_TIME_USE,
        host,
        f"which devices Nova used once is unknown, and none is given back:"
        f" {error}",
        remedy="check [placement], and [agent] nova_host",
    )
    return Outcome(finding, Result.LEFT)
