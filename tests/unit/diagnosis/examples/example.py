"""A case that shows a cause, and cases that nearly do."""

from __future__ import annotations

from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.evidence import Case, Confidence


class Example(NamedTuple):
    """A case of one cause, with others near it.

    :param evidence: what the cause's evidence has in it.
    :param misses: cases that nearly have the cause, and do not.
    :param variants: further cases whose message differs.
    """

    case: Case
    confidence: Confidence
    evidence: str
    misses: tuple[Case, ...]
    variants: tuple[Case, ...] = ()
