"""How every command ends: a status, and its errors a line each."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gpu_passthrough_plugin import errors


def status(act: Callable[[], int]) -> int:
    """What ``act`` returns, or the status of the error that it raised."""
    try:
        return act()
    except errors.Faults as error:
        for fault in error.faults:
            _complain(fault)
        return error.exit_status
    except errors.Error as error:
        _complain(str(error))
        return error.exit_status


def _complain(message: str) -> None:
    line = " ".join(message.split())
    print(f"gpu-passthrough: {line}", file=sys.stderr)
