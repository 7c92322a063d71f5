"""How ``host verify`` prints its findings: one block per cause, or rows.

A cause mostly hits many functions, and its fix is a line to copy: in a table,
both would be repeated and broken.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import Any, cast

from gpu_passthrough_plugin.cli import output
from gpu_passthrough_plugin.cli.command import Field
from gpu_passthrough_plugin.diagnosis.evidence import Cause, Confidence
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.flow.verification import Verification
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.reading import Unknown, printable, shown

COLUMNS = (
    "Address",
    "Expected",
    "Found",
    "Status",
    "IOMMU Group",
    "Reset Methods",
    "Cause",
    "Fix",
)
_GUEST = "guest log"
_NO_MESSAGE = "no message of this log is known to be about a PCI function"
# The certain first.
_RANKS = {confidence: rank for rank, confidence in enumerate(Confidence)}


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
    return (*map(Field, values), _Causes(causes), _Fixes(causes))


def guest_row(causes: tuple[Cause, ...]) -> tuple[Field, ...]:
    """Return the row of a guest's log, which has no address here."""
    message = "" if causes else _NO_MESSAGE
    values = (_GUEST, "", message, str(Status.WARN), None, ())
    return (*map(Field, values), _Causes(causes), _Fixes(causes))


@dataclasses.dataclass(slots=True)
class _Block:
    """One cause with everything that it hits, as far as the fix is one."""

    name: str
    fix: str
    confidence: Confidence
    rank: int
    addresses: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    evidence: list[str] = dataclasses.field(default_factory=list)

    def add(self, address: str, rank: int, cause: Cause) -> None:
        self.rank = min(self.rank, rank)
        self.confidence = min(
            self.confidence, cause.confidence, key=lambda c: _RANKS[c]
        )
        self.addresses.setdefault(cause.text, []).append(address)
        evidence = shown(cause.evidence)
        if evidence not in self.evidence:
            self.evidence.append(evidence)


def _blocks(
    causes: Iterable[tuple[str, tuple[Cause, ...]]],
) -> list[_Block]:
    """Return one block per cause, in the order in which to read them.

    A cause comes first if it is the most likely one of a function; among
    equals, the one with the most functions.

    :param causes: of each function, by address, the most likely first.
    """
    blocks: dict[tuple[str, str], _Block] = {}
    for address, ranked in causes:
        for rank, cause in enumerate(ranked):
            block = blocks.setdefault(
                (cause.name, cause.fix),
                _Block(cause.name, cause.fix, cause.confidence, rank),
            )
            block.add(address, rank, cause)
    return sorted(
        blocks.values(),
        key=lambda b: (b.rank, -sum(map(len, b.addresses.values()))),
    )


def terminal_width(given: int = 0) -> int | None:
    """Return how wide lines may be; None where they go to no terminal.

    :param given: what the operator chose; 0 for nothing.
    """
    if given > 0:
        return given
    if not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def text(result: Verification, width: int | None) -> Iterator[str]:
    """Yield the lines for people.

    :param width: of the terminal; None to leave every text on one line.
    """
    yield from _functions(result.findings)
    blocks = _blocks((str(v.address), v.causes) for v in result.findings)
    for number, block in enumerate(blocks, 1):
        yield ""
        yield from _block(number, block, width)
    if result.guest is not None:
        yield ""
        yield f"{_GUEST}:" if result.guest else f"{_GUEST}: {_NO_MESSAGE}"
        guest = _blocks([(_GUEST, result.guest)])
        for number, block in enumerate(guest, len(blocks) + 1):
            yield ""
            yield from _block(number, block, width)


def _functions(findings: tuple[Verified, ...]) -> Iterator[str]:
    if findings:
        good = sum(v.status is Status.PASS for v in findings)
        yield f"{good} of {len(findings)} functions are ready for guests"
    for verified in findings:
        group = verified.iommu_group
        place = "no IOMMU group" if group is None else f"group {shown(group)}"
        driver = "no driver" if verified.found == "none" else verified.found
        if verified.found != verified.expected:
            driver += f" (expected {verified.expected})"
        if not isinstance(verified.reset_methods, Unknown):
            place += f", reset: {output.flat(verified.reset_methods)}"
        yield printable(
            f"  {verified.address}  {verified.status}  {driver}, {place}"
        )


_LABEL = 12


def _block(number: int, block: _Block, width: int | None) -> Iterator[str]:
    texts = list(block.addresses)
    yield from _wrapped(f"{number}. ", texts[0], width)
    for line in texts[1:]:
        yield from _wrapped("   ", line, width)
    hit = sorted({a for some in block.addresses.values() for a in some})
    if hit != [_GUEST]:
        yield from _labelled("functions", " ".join(hit), width)
    confidence = f"{block.confidence}; guide: causes, {block.name}"
    yield from _labelled("confidence", confidence, width)
    for evidence in block.evidence:
        yield from _labelled("evidence", evidence, width)
    yield from _labelled("fix", block.fix, width)
    for quoted in _QUOTED.findall(block.fix):
        if _is_to_copy(quoted):
            # Never wrapped: the copy would have another line's end in it.
            yield from _labelled("to copy", quoted, None)


def _is_to_copy(quoted: str) -> bool:
    """Return whether a quoted text is a command, or a line for a file.

    An option of the firmware has a capital letter.  What has an ellipsis is
    not complete: modprobe would take ``ids=…`` as it stands.
    """
    return not quoted[0].isupper() and "…" not in quoted


# Several words that the text of a fix quotes.
_QUOTED = re.compile(r"(?<!\w)'([^']+ [^']+)'(?!\w)")
# What is between two places where a line may end.
_UNBROKEN = re.compile(r"(?:(?<!\w)'[^']+'(?!\w)|\S)+")


def _labelled(label: str, value: str, width: int | None) -> Iterator[str]:
    return _wrapped(f"   {label:<{_LABEL}}", value, width)


def _wrapped(start: str, value: str, width: int | None) -> Iterator[str]:
    """Yield a text in lines of a width, broken between words only."""
    value = printable(value)
    if width is None:
        yield f"{start}{value}"
        return
    line = start
    is_empty = True
    for word in _UNBROKEN.findall(value):
        if not is_empty and len(line) + 1 + len(word) > width:
            yield line
            line, is_empty = " " * len(start), True
        line += word if is_empty else f" {word}"
        is_empty = False
    yield line
