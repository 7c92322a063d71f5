"""Format values for each output format, and print errors a line each."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.reading import Unknown, shown

# Formats that have no lists.
FLAT = frozenset({"value", "csv"})


def plain(value: object) -> object:
    """Return a value for JSON and YAML: lists, numbers, null, else text."""
    if isinstance(value, Unknown):
        return shown(value)
    if isinstance(value, tuple):
        return [v if isinstance(v, int) else str(v) for v in value]
    return value


def lines(value: object) -> list[str]:
    """Return a value for people, line by line; at least one line."""
    if isinstance(value, tuple):
        return list(map(str, value)) or [""]
    return shown(value).split("\n")


def text(value: object) -> str:
    """Return a value for people as one text, a line for each of several."""
    return "\n".join(lines(value))


def flat(value: object) -> str:
    """Return a value in one line, several of them separated by commas."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return shown(value)


def run(act: Callable[[], int], *, is_debug: bool = False) -> int:
    """Return what ``act`` returns, or the exit status of its error.

    The error is printed.

    :param is_debug: print the traceback as well.
    """
    try:
        return act()
    except errors.Error as error:
        if is_debug:
            import traceback

            traceback.print_exc()
        faults = error.faults if isinstance(error, errors.Faults) else ()
        for line in faults or (str(error),):
            _print_error(line)
        return error.exit_status


def _print_error(message: str) -> None:
    line = " ".join(message.split())
    print(f"gpu-passthrough: {line}", file=sys.stderr)
