"""Metrics as values: families, their samples, and where they are served."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple


class MetricKind(enum.StrEnum):
    """What a family's values mean.  Source: prometheus.io, metric types."""

    GAUGE = "gauge"
    COUNTER = "counter"


class MetricSample(NamedTuple):
    """One value.

    :param labels: their values, in the order of the family's names.
    """

    labels: tuple[str, ...]
    value: float


class MetricFamily(NamedTuple):
    """Values of one name.

    :param name: without the suffix ``_total`` of a counter.
    """

    name: str
    kind: MetricKind
    documentation: str
    label_names: tuple[str, ...]
    samples: tuple[MetricSample, ...]

    @property
    def sample_name(self) -> str:
        """The name that its samples have."""
        suffix = "_total" if self.kind is MetricKind.COUNTER else ""
        return f"{self.name}{suffix}"


class MetricsAddress(NamedTuple):
    """Where metrics are served: at a socket's path, or a loopback port.

    :param path: empty for a port.
    """

    path: str
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class CountedEvent(enum.StrEnum):
    """What commands, the hook and the agent count together."""

    RESET = "reset"
    """By its method and its outcome."""
    CLAIM_CONFLICT = "claim_conflict"
    """By who claimed."""


EventCounts = Mapping[tuple[str, ...], int]
"""How often each event happened, by ``CountedEvent`` and its details."""
