"""What commands print: values in each format, and errors a line each."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gpu_passthrough_plugin import errors
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


def status(act: Callable[[], int], *, is_debug: bool = False) -> int:
    """What ``act`` returns, or the status of the error that it raised.

    :param is_debug: show where an error came from as well.
    """
    try:
        return act()
    except errors.Error as error:
        if is_debug:
            # Only who looks for a bug pays for the import.
            import traceback

            traceback.print_exc()
        faults = error.faults if isinstance(error, errors.Faults) else ()
        for line in faults or (str(error),):
            _complain(line)
        return error.exit_status


def _complain(message: str) -> None:
    line = " ".join(message.split())
    print(f"gpu-passthrough: {line}", file=sys.stderr)
