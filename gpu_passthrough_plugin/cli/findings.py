"""What is wrong, for people and programs: one block, or object, a finding.

A fault mostly hits many functions, and its fix is a line to copy: in a table,
both would be repeated and broken.  Imports no cliff, for ``group list``.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from gpu_passthrough_plugin.model.advice import Confidence, Fix
from gpu_passthrough_plugin.model.reading import printable

COLUMN = "Findings"
TEXT = "text"
# The certain first.
_RANKS = {confidence: rank for rank, confidence in enumerate(Confidence)}
ADDRESS = re.compile(
    r"(?<![\w:.])[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7](?![\w:])"
)


class Diagnosis(NamedTuple):
    """One thing that is wrong with some functions.

    :param name: stable, such as ``ids-stale``.
    :param functions: addresses; empty where it is the whole host's.
    :param evidence: the lines or values that show it.
    :param groups: numbers of IOMMU groups, where whole groups are listed.
    :param chapter: of the guide that has a section of this name; "" for none.
    """

    name: str
    confidence: Confidence
    text: str
    functions: tuple[str, ...]
    evidence: tuple[str, ...]
    fix: Fix | None
    groups: tuple[int, ...] = ()
    chapter: str = ""

    def plain(self) -> dict[str, Any]:
        """Return the finding as an object of JSON or YAML."""
        return {
            "name": self.name,
            "confidence": str(self.confidence),
            "text": self.text,
            "functions": list(self.functions),
            "evidence": list(self.evidence),
            "fix": self.fix
            and {
                "text": self.fix.text,
                "commands": list(self.fix.commands),
            },
        }


def addresses_in(text: str) -> tuple[str, ...]:
    """Return the addresses that a text names, in its order."""
    return tuple(dict.fromkeys(ADDRESS.findall(text)))


def terminal_width(given: int = 0) -> int | None:
    """Return how wide lines may be; None where they go to no terminal.

    :param given: what the operator chose; 0 for nothing.
    """
    if given > 0:
        return given
    if not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


class Block:
    """One cause with everything that it hits, as far as the fix is one.

    No dataclass: importing those takes as long as listing a host.
    """

    __slots__ = (
        "confidence",
        "evidence",
        "first",
        "functions",
        "groups",
        "rank",
        "texts",
    )

    def __init__(self, first: Diagnosis, rank: int) -> None:
        """Make one, to which nothing is added yet.

        :param rank: 0 for the most likely cause of a function.
        """
        self.first, self.rank = first, rank
        self.confidence = first.confidence
        self.texts: list[str] = []
        self.functions: list[str] = []
        self.groups: list[int] = []
        self.evidence: list[str] = []

    def add(self, rank: int, diagnosis: Diagnosis) -> None:
        self.rank = min(self.rank, rank)
        self.confidence = min(
            self.confidence, diagnosis.confidence, key=lambda c: _RANKS[c]
        )
        _extend(self.texts, (diagnosis.text,))
        _extend(self.functions, diagnosis.functions)
        _extend(self.groups, diagnosis.groups)
        _extend(self.evidence, diagnosis.evidence)


T = TypeVar("T")


def _extend(values: list[T], more: Iterable[T]) -> None:
    """Add the values that are not there."""
    values.extend(v for v in dict.fromkeys(more) if v not in values)


def blocks(ranked: Iterable[Sequence[Diagnosis]]) -> list[Block]:
    """Return one block per cause, in the order in which to read them.

    A cause comes first if it is the most likely one of a function; among
    equals, the one with the most functions.

    :param ranked: of each function, the most likely first.
    """
    merged: dict[tuple[str, str], Block] = {}
    for diagnoses in ranked:
        for rank, diagnosis in enumerate(diagnoses):
            advice = diagnosis.fix.text if diagnosis.fix else ""
            block = merged.setdefault(
                (diagnosis.name, masked(advice)),
                Block(diagnosis, rank),
            )
            block.add(rank, diagnosis)
    return sorted(merged.values(), key=lambda b: (b.rank, -len(b.functions)))


LABEL = 12
_INDENT = "   "


def lines(block: Block, number: int, width: int | None) -> Iterator[str]:
    """Yield the lines of one block for people.

    :param width: of the terminal; None to leave every text on one line.
    """
    start = f"{number}. "
    for text in _alike(block.texts):
        yield from wrapped(start, text, width, indent=len(start) + 2)
        start = _INDENT
    if block.groups:
        yield from _labelled("groups", ranges(block.groups), width)
    if block.functions:
        yield from _labelled("functions", compact(block.functions), width)
    chapter = block.first.chapter
    place = f"; guide: {chapter}, {block.first.name}" if chapter else ""
    if place or block.confidence is not Confidence.CERTAIN:
        confidence = f"{block.confidence}{place}"
        yield from _labelled("confidence", confidence, width)
    # A check's text is its evidence as well.
    texts = "\n".join((*block.texts, ""))
    shown = (e for e in block.evidence if f"{e}\n" not in texts)
    for evidence in _alike(shown):
        yield from _labelled("evidence", evidence, width)
    yield from _fix_lines(block.first.fix, width)


def _fix_lines(advice: Fix | None, width: int | None) -> Iterator[str]:
    if advice is None:
        return
    yield from _labelled("fix", advice.text, width)
    # Each alone on its line, and never wrapped: a copy of the line is it.
    for label, copied in (
        ("to run", advice.commands),
        ("for a file of modprobe.d", advice.lines),
    ):
        if copied:
            yield f"{_INDENT}{label}:"
            yield from (f"{_INDENT}    {printable(c)}" for c in copied)


def masked(text: str) -> str:
    """Return a text without addresses and numbers of groups."""
    return _GROUP.sub("", _ADDRESSES.sub("", text))


_ADDRESSES = re.compile(rf"{ADDRESS.pattern}(?:, {ADDRESS.pattern})*")
_GROUP = re.compile(r"(?<=\bgroup )\d+")


def _alike(texts: Iterable[str]) -> Iterator[str]:
    """Yield texts; of those that differ in addresses only, the first."""
    alike: dict[str, list[str]] = {}
    for text in texts:
        alike.setdefault(masked(text), []).append(text)
    for first, *more in alike.values():
        yield f"{first} (and {len(more)} more like it)" if more else first


def compact(addresses: Iterable[str]) -> str:
    """Return addresses in order, the functions of a slot as one.

    As in ``0000:06:00.0-1 0000:82:00.0``.
    """
    slots: dict[str, list[int]] = {}
    for address in sorted(addresses, key=_key):
        slot, _, function = address.rpartition(".")
        slots.setdefault(slot, []).append(int(function))
    return " ".join(f"{s}.{ranges(n, ',')}" for s, n in slots.items())


def _key(address: str) -> tuple[int, ...]:
    return tuple(int(part, 16) for part in re.split("[:.]", address))


def ranges(numbers: Iterable[int], between: str = " ") -> str:
    """Return numbers with each row of consecutive ones as ``first-last``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return between.join(
        f"{first}" if first == last else f"{first}-{last}"
        for first, last in runs
    )


def _labelled(label: str, value: str, width: int | None) -> Iterator[str]:
    return wrapped(f"{_INDENT}{label:<{LABEL}}", value, width)


# What is between two places where a line may end.
_UNBROKEN = re.compile(r"(?:(?<!\w)'[^']+'(?!\w)|\S)+")


def wrapped(
    start: str, value: str, width: int | None, indent: int | None = None
) -> Iterator[str]:
    """Yield a text in lines of a width, broken between words only.

    What is quoted is a command, mostly, and stays whole.

    :param indent: of the lines after the first; where the text begins if
        None.
    """
    value = printable(value)
    if width is None:
        yield f"{start}{value}"
        return
    line = start
    is_empty = True
    indent = len(start) if indent is None else indent
    for word in _UNBROKEN.findall(value):
        if not is_empty and len(line) + 1 + len(word) > width:
            yield line
            line, is_empty = " " * indent, True
        line += word if is_empty else f" {word}"
        is_empty = False
    yield line
