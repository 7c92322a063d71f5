from __future__ import annotations

import threading
import time

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.hook_worker import WorkThread


def test_work_is_done_in_one_thread() -> None:
    thread, seen = WorkThread(), []

    def work() -> bool:
        seen.append(threading.current_thread())
        return True

    assert thread.within(9, work, "late")
    assert thread.within(9, lambda: work() and False, "late") is False
    assert len(set(seen)) == 1
    assert seen[0] is not threading.current_thread()


def test_its_errors_are_those_of_the_hooks_child() -> None:
    thread = WorkThread()

    def fail(error: Exception) -> bool:
        raise error

    with pytest.raises(errors.Refused, match="no"):
        thread.within(9, lambda: fail(errors.Refused("no")), "late")
    with pytest.raises(errors.Unavailable, match="KeyError"):
        thread.within(9, lambda: fail(KeyError("a")), "late")


def test_what_is_late_claims_nothing_more() -> None:
    thread, claimed = WorkThread(), []
    may_go_on = threading.Event()

    def work() -> bool:
        thread.require_time()
        may_go_on.wait(9)
        thread.require_time()
        claimed.append(True)
        return True

    begun = time.monotonic()
    with pytest.raises(errors.Unavailable, match="too late"):
        thread.within(0.1, work, "too late")
    assert time.monotonic() - begun < 5
    assert thread.is_late
    may_go_on.set()
    time.sleep(0.1)
    assert not claimed
