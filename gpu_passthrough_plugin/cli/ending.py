"""How every command ends: a status, and its errors a line each."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gpu_passthrough_plugin import errors


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
