"""Whether a function is still as good as it was: pure.

No rule concludes from what was not read.  What is common is no evidence: a
lower link speed of an idle card, a width that the slot never had, errors that
the link corrected, and requests that a function does not support, as probing
makes them.

Source: Linux, Documentation/PCI/pcieaer-howto.rst (severities); NVIDIA/
NVSentinel#890 (width that is lost for good); kata-containers/
kata-containers#11708 (D3cold that does not end).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.formats.aer_counters import UNSUPPORTED_REQUEST
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function_health import (
    AerCounters,
    FunctionHealth,
)
from gpu_passthrough_plugin.model.reading import Unknown

Counters = AerCounters | Unknown | None
Healths = Mapping[Address, FunctionHealth]


class HealthLimits(NamedTuple):
    """What an operator tolerates.

    :param correctable_errors: as many a function may report; None for any
        number.
    """

    correctable_errors: int | None = None


def judge(
    before: Healths,
    after: Healths,
    limits: HealthLimits,
    *,
    is_retrained: bool = False,
) -> tuple[str, ...]:
    """Return why functions are suspect, a line each; empty if they are not.

    :param before: as they were when they were known to be good, in the same
        boot; empty where that is not known.
    :param is_retrained: whether a reset of the bus made each link anew since:
        only then is a lower speed any evidence.
    """
    return tuple(
        f"{address} {evidence}"
        for address in sorted(after)
        for evidence in _evidence(
            before.get(address), after[address], limits, is_retrained
        )
    )


def is_slower(before: Healths, after: Healths) -> bool:
    """Return whether a link is slower than it was, perhaps for a moment."""
    return any(
        any(_speed(before[address], after[address]))
        for address in before.keys() & after.keys()
    )


def _evidence(
    before: FunctionHealth | None,
    after: FunctionHealth,
    limits: HealthLimits,
    is_retrained: bool,
) -> Iterator[str]:
    yield from _presence(after)
    if before is None:
        return
    yield from _width(before, after)
    if is_retrained:
        yield from _speed(before, after)
    yield from _uncorrected("fatal", before.fatal, after.fatal)
    yield from _uncorrected(
        "nonfatal", before.nonfatal, after.nonfatal, UNSUPPORTED_REQUEST
    )
    yield from _corrected(before.correctable, after.correctable, limits)


def _presence(after: FunctionHealth) -> Iterator[str]:
    """Yield what is wrong whatever it was before."""
    if after.is_dead:
        yield "does not respond: its link reads ff"
    if after.runtime_status == "error":
        yield "did not come back from its suspended state"
    elif after.power_state == "D3cold" and after.runtime_status == "active":
        yield "is in D3cold although it was woken"


def _width(before: FunctionHealth, after: FunctionHealth) -> Iterator[str]:
    was, is_now = before.link.width, after.link.width
    if not isinstance(was, int) or not isinstance(is_now, int):
        return
    # It had them: both ends support as many.
    if is_now < was:
        lanes = f"has {is_now} lanes" if is_now else "has no link"
        yield f"{lanes}, and had {was} before{_supported(after)}"


def _speed(before: FunctionHealth, after: FunctionHealth) -> Iterator[str]:
    was, is_now = before.link.speed_gts, after.link.speed_gts
    if not isinstance(was, float) or not isinstance(is_now, float):
        return
    if is_now < was:
        yield (
            f"has a link of {is_now} GT/s after a reset of its bus, and had"
            f" {was} GT/s before{_supported(after)}"
        )


def _supported(after: FunctionHealth) -> str:
    """Return what both ends support; "" where it is not known of both."""
    ends = (*after.link[2:], *(after.port or ()))
    if not all(isinstance(value, (int, float)) for value in ends):
        return ""
    link = after.reachable
    return f"; both ends support {link.max_speed_gts} GT/s x{link.max_width}"


def _uncorrected(
    severity: str,
    before: Counters,
    after: Counters,
    ignored: frozenset[str] = frozenset(),
) -> Iterator[str]:
    grown = {
        k: n for k, n in _grown(before, after).items() if k not in ignored
    }
    if grown:
        kinds = ", ".join(f"{kind} {count}" for kind, count in grown.items())
        yield f"reported {severity} errors: {kinds}"


def _corrected(
    before: Counters, after: Counters, limits: HealthLimits
) -> Iterator[str]:
    most = limits.correctable_errors
    count = sum(_grown(before, after).values())
    if most is not None and count > most:
        yield (
            f"reported {count} correctable errors; expected at most {most}"
            " ([release] correctable_errors)"
        )


def _grown(before: Counters, after: Counters) -> dict[str, int]:
    """Return how often each kind was counted since; without what was not.

    Where one is lower than it was, the function was removed and found again:
    it counts from 0 then.
    """
    if not isinstance(before, AerCounters) or not isinstance(
        after, AerCounters
    ):
        return {}
    old: Mapping[str, int] = before.by_kind
    if after.total < before.total:
        old = {}
    grown = {
        kind: count - old.get(kind, 0) for kind, count in after.by_kind.items()
    }
    return {kind: count for kind, count in grown.items() if count > 0}
