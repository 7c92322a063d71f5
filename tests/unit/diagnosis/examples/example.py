"""A case that shows a cause, and cases that nearly do."""

from __future__ import annotations

from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.evidence import Case, Confidence


class Example(NamedTuple):
    """What a cause shows itself by.

    :param said: what its evidence has in it.
    :param misses: none of them has the cause.
    """

    shown: Case
    confidence: Confidence
    said: str
    misses: tuple[Case, ...]
