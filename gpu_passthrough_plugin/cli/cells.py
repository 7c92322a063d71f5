"""A value as people, machines and one-line formats have it."""

from __future__ import annotations

from gpu_passthrough_plugin.model.reading import Unknown, shown

# Formats that know no lists.
FLAT = frozenset({"value", "csv"})


def plain(value: object) -> object:
    """For machines: lists of texts, numbers, null, and the rest as text."""
    if isinstance(value, Unknown):
        return shown(value)
    if isinstance(value, tuple):
        return [v if isinstance(v, int) else str(v) for v in value]
    return value


def lines(value: object) -> list[str]:
    """For people, line by line; at least one."""
    if isinstance(value, tuple):
        return list(map(str, value)) or [""]
    return shown(value).split("\n")


def text(value: object) -> str:
    """For people: a line for each of several."""
    return "\n".join(lines(value))


def flat(value: object) -> str:
    """In one line, several divided by commas."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return shown(value)
