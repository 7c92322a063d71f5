"""A file of anybody's is read within its time, or not at all."""

from __future__ import annotations

import contextlib
import signal

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.time_limit import time_limit


def test_reading_a_strangers_file_ends() -> None:
    """No handler of errors on the way keeps it going."""
    before = signal.getsignal(signal.SIGPROF)
    with (
        pytest.raises(errors.ReadFailed, match=r"host\.zst .*0\.02 s"),
        time_limit("host.zst", 0.02),
    ):
        while True:
            # As a careless reader does.
            with contextlib.suppress(Exception):
                sum(range(1000))
    assert signal.getsignal(signal.SIGPROF) == before
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0


def test_what_is_read_in_time_is_not_disturbed() -> None:
    with time_limit("host.zst"):
        total = sum(range(1000))
    assert total == 499_500
