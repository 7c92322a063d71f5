"""How ``host verify`` prints its findings: one block per cause, or rows.

A cause mostly hits many functions, and its fix is a line to copy: in a table,
both would be repeated and broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from gpu_passthrough_plugin.cli import findings, output
from gpu_passthrough_plugin.cli.command import Field
from gpu_passthrough_plugin.cli.finding_lister import FindingsField
from gpu_passthrough_plugin.cli.findings import Diagnosis
from gpu_passthrough_plugin.diagnosis.evidence import Cause
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.flow.verification import Verification
from gpu_passthrough_plugin.model.advice import fix
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.reading import Unknown, shown

COLUMNS = (
    "Address",
    "Expected",
    "Found",
    "Status",
    "IOMMU Group",
    "Reset Methods",
    "Cause",
    "Fix",
    findings.COLUMN,
)
_GUEST = "guest log"
_NO_MESSAGE = "no message of this log is known to be about a PCI function"


class _Causes(Field):
    """The causes of one function: objects for programs, lines for people."""

    def machine_readable(self) -> Any:
        return [
            {
                "name": cause.name,
                "confidence": str(cause.confidence),
                "text": cause.text,
                "evidence": shown(cause.evidence),
                "fix": cause.fix,
            }
            for cause in self._causes
        ]

    def human_readable(self) -> str:
        return output.text(self._lines())

    def flat(self, between: str) -> str:
        return output.flat(self._lines(), between)

    @property
    def _causes(self) -> tuple[Cause, ...]:
        return cast("tuple[Cause, ...]", self._value)

    def _lines(self) -> tuple[str, ...]:
        return tuple(
            f"{number}. {cause} [{cause.confidence}] {shown(cause.evidence)}"
            for number, cause in enumerate(self._causes, 1)
        )


class _Fixes(_Causes):
    """The fixes of the same causes."""

    def machine_readable(self) -> Any:
        return [cause.fix for cause in self._causes]

    def _lines(self) -> tuple[str, ...]:
        return tuple(
            f"{number}. {cause.fix}"
            for number, cause in enumerate(self._causes, 1)
        )


def row(verified: Verified) -> tuple[Field, ...]:
    """Return the row of one function."""
    values = (
        str(verified.address),
        verified.expected,
        verified.found,
        str(verified.status),
        verified.iommu_group,
        verified.reset_methods,
    )
    causes = verified.causes
    return _row(values, causes, diagnoses(str(verified.address), causes))


def guest_row(causes: tuple[Cause, ...]) -> tuple[Field, ...]:
    """Return the row of a guest's log, which has no address here."""
    message = "" if causes else _NO_MESSAGE
    values = (_GUEST, "", message, str(Status.WARN), None, ())
    return _row(values, causes, diagnoses("", causes))


def _row(
    values: Iterable[object],
    causes: tuple[Cause, ...],
    listed: tuple[Diagnosis, ...],
) -> tuple[Field, ...]:
    return (
        *map(Field, values),
        _Causes(causes),
        _Fixes(causes),
        FindingsField(listed),
    )


def diagnoses(address: str, causes: Iterable[Cause]) -> tuple[Diagnosis, ...]:
    """Return the causes of one function, the most likely first.

    :param address: "" for a guest's log.
    """
    return tuple(
        Diagnosis(
            cause.name,
            cause.confidence,
            cause.text,
            (address,) if address else (),
            (shown(cause.evidence),),
            fix(cause.fix),
            chapter="causes",
        )
        for cause in causes
    )


def text(result: Verification, width: int | None) -> Iterator[str]:
    """Yield the lines for people.

    :param width: of the terminal; None to leave every text on one line.
    """
    yield from _functions(result.findings, width)
    blocks = findings.blocks(
        diagnoses(str(v.address), v.causes) for v in result.findings
    )
    for number, block in enumerate(blocks, 1):
        yield ""
        yield from findings.lines(block, number, width)
    if result.guest is not None:
        yield ""
        yield f"{_GUEST}:" if result.guest else f"{_GUEST}: {_NO_MESSAGE}"
        guest = findings.blocks([diagnoses("", result.guest)])
        for number, block in enumerate(guest, len(blocks) + 1):
            yield ""
            yield from findings.lines(block, number, width)


def _functions(
    verified: tuple[Verified, ...], width: int | None
) -> Iterator[str]:
    """Yield how many functions are ready, and the state of each.

    Those in the same state share a line.
    """
    if not verified:
        return
    good = sum(v.status is Status.PASS for v in verified)
    yield (
        f"{_state(verified)}: {good} of {len(verified)} functions are ready"
        " for guests"
    )
    alike: dict[tuple[Status, str], list[str]] = {}
    for one in verified:
        key = (one.status, _function_state(one))
        alike.setdefault(key, []).append(str(one.address))
    for (status, state), addresses in alike.items():
        value = f"{findings.compact(addresses)}: {state}"
        yield from findings.wrapped(f"  {status}  ", value, width)


def _state(verified: tuple[Verified, ...]) -> str:
    statuses = {one.status for one in verified}
    if Status.FAIL in statuses:
        return "FAIL"
    return "WARN" if Status.WARN in statuses else "OK"


def _function_state(verified: Verified) -> str:
    group = verified.iommu_group
    place = "no IOMMU group" if group is None else f"group {shown(group)}"
    driver = "no driver" if verified.found == "none" else verified.found
    if verified.found != verified.expected:
        driver += f" (expected {verified.expected})"
    if not isinstance(verified.reset_methods, Unknown):
        place += f", reset: {output.flat(verified.reset_methods)}"
    return f"{driver}, {place}"
