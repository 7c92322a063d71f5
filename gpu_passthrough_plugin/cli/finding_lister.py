"""Commands that print findings: a text for people, objects for programs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

from cliff.formatters import table

from gpu_passthrough_plugin.cli import findings, output
from gpu_passthrough_plugin.cli.command import Field, Lister, rows
from gpu_passthrough_plugin.cli.findings import Block, Diagnosis
from gpu_passthrough_plugin.model.advice import Confidence, fix
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.reading import printable

# Formats that have objects.
_STRUCTURED = frozenset({"json", "yaml"})


class FindingsField(Field):
    """Findings: objects for programs, their names for people."""

    def machine_readable(self) -> Any:
        return [d.plain() for d in self._diagnoses]

    def human_readable(self) -> str:
        return output.text(self._names)

    def flat(self, between: str) -> str:
        return output.flat(self._names, between)

    @property
    def _diagnoses(self) -> tuple[Diagnosis, ...]:
        return cast("tuple[Diagnosis, ...]", self._value)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(f"{d.name} [{d.confidence}]" for d in self._diagnoses)


class _Text(table.TableFormatter):
    """Whole, a text of its own; a choice of columns is a table."""

    def add_argument_group(self, parser: argparse.ArgumentParser) -> None:
        """Add nothing: the table's options are there."""


class FindingLister(Lister):
    """A command that prints what it found as a text, or rows.

    The last of its columns has the findings as objects.  Only formats that
    have objects print it where no columns are chosen.
    """

    def text(self, width: int | None) -> Iterable[str]:
        """Return the lines for people of what ``take_action`` found.

        :param width: of the terminal; None where there is none.
        """
        raise NotImplementedError

    def formats(self) -> dict[str, Any]:
        return {**super().formats(), findings.TEXT: _Text}

    @property
    def formatter_default(self) -> str:
        return findings.TEXT

    def produce_output(
        self, parsed_args: argparse.Namespace, names: Any, data: Any
    ) -> int:
        form = parsed_args.formatter
        is_whole = not (parsed_args.columns or parsed_args.sort_columns)
        if form == findings.TEXT and is_whole:
            width = findings.terminal_width(parsed_args.max_width)
            for line in self.text(width):
                self.app.stdout.write(f"{line}\n")
            return 0
        if form not in _STRUCTURED and not parsed_args.columns:
            names, data = names[:-1], tuple(row[:-1] for row in data)
        return super().produce_output(parsed_args, names, data)


class CheckLister(FindingLister):
    """A command that checks something; its exit status is 1 if it fails.

    :cvar subject: what is checked, in a word or two.
    """

    subject: ClassVar[str]
    result: tuple[Finding, ...]

    def answer(
        self, result: Iterable[Finding], names: tuple[str, ...]
    ) -> tuple[tuple[str, ...], tuple[tuple[Field, ...], ...]]:
        """Return the rows of checks, and note their result.

        :param names: of the columns: ``Where`` if it has one.
        """
        self.result = tuple(result)
        if any(f.status is Status.FAIL for f in self.result):
            self.status = 1
        return names, rows(*(_check_row(f, names) for f in self.result))

    def text(self, width: int | None) -> Iterable[str]:
        return check_lines(self.result, width, self.subject)


def _check_row(finding: Finding, names: tuple[str, ...]) -> list[object]:
    values = {
        "Check": finding.check,
        "Status": str(finding.status),
        "Where": finding.where,
        "Detail": finding.detail,
        "Remedy": finding.remedy,
        findings.COLUMN: FindingsField(of_check(finding)),
    }
    return [values[name] for name in names]


def of_check(finding: Finding) -> tuple[Diagnosis, ...]:
    """Return what a check found wrong; nothing where it passed."""
    if finding.status is Status.PASS:
        return ()
    where = tuple(finding.where.split(", ")) if finding.where else ()
    return (
        Diagnosis(
            finding.check,
            _confidence(finding),
            finding.detail,
            findings.addresses_in(finding.detail),
            where or (finding.detail,),
            fix(finding.remedy),
        ),
    )


def _confidence(finding: Finding) -> Confidence:
    """Return how sure a check is; a failed one was read from the host."""
    if finding.status is Status.FAIL:
        return Confidence.CERTAIN
    if "unknown" in finding.detail:
        return Confidence.POSSIBLE
    return Confidence.LIKELY


def check_lines(
    results: Sequence[Finding], width: int | None, subject: str
) -> Iterator[str]:
    """Yield the lines for people of a command that checks.

    The first is a summary, for monitoring; then what passed, in short; then
    a block for each fix, with every check that it is for.

    :param subject: what was checked, such as ``host``.
    """
    yield from findings.wrapped("", summary(results, subject), width, indent=2)
    passed = [f for f in results if f.status is Status.PASS]
    column = max((len(f.check) for f in passed), default=0)
    for finding in passed:
        start = f"  pass  {finding.check:<{column}}  "
        yield from findings.wrapped(start, finding.detail, width)
    failed = _check_blocks(results, Status.FAIL)
    warned = _check_blocks(results, Status.WARN)
    for number, block in enumerate((*failed, *warned), 1):
        yield ""
        yield from findings.lines(block, number, width)


def _check_blocks(
    results: Iterable[Finding], status: Status
) -> Iterable[Block]:
    """Return one block per fix of the checks with a status, in their order."""
    merged: dict[tuple[str, ...], Block] = {}
    for finding in results:
        if finding.status is status:
            (diagnosis,) = of_check(finding)
            advice = diagnosis.fix
            key = (
                (findings.masked(advice.text),)
                if advice
                else (finding.check, "")
            )
            block = merged.setdefault(key, Block(diagnosis, 0))
            text = f"{status}  {finding.check}: {finding.detail}"
            block.add(0, diagnosis._replace(text=text))
    return merged.values()


def summary(findings: Sequence[Finding], subject: str) -> str:
    """Return the state of all checks in one line, for monitoring too."""
    names = {
        status: list(
            dict.fromkeys(f.check for f in findings if f.status is status)
        )
        for status in Status
    }
    failed, warned = names[Status.FAIL], names[Status.WARN]
    state = "FAIL" if failed else "WARN" if warned else "OK"
    counts = [
        f"{len(some)} {word} ({', '.join(some)})"
        for word, some in (("failed", failed), ("warned", warned))
        if some
    ]
    counts.append(f"{len(names[Status.PASS])} passed")
    return printable(f"{state}: {subject}: {', '.join(counts)}")
