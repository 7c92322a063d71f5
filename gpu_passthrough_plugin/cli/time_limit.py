"""How long reading a file may take that anybody may have made."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import budget


class _OutOfTime(BaseException):
    """Passes through every handler of errors below ``time_limit``."""


@contextlib.contextmanager
def time_limit(
    path: str,
    seconds: float = budget.MAX_SECONDS,
    expected: str = "a file that 'gpu-passthrough host record' or 'host"
    " report' wrote",
) -> Iterator[None]:
    """Read a file that anybody may have sent, within the budget's seconds.

    :param seconds: of the processor's time.
    :param expected: what the file should have been.
    :raises ReadFailed: when reading takes more time of the processor.
    """

    def stop(_signal: int, _frame: object) -> None:
        raise _OutOfTime

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    except _OutOfTime:
        raise errors.ReadFailed(
            f"{path} was not read within {seconds:g} s of processor"
            f" time; expected {expected}"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
