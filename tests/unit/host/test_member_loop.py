"""An agent that cannot join the others tries again, soon enough."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.member_loop import MemberLoop
from gpu_passthrough_plugin.host.membership import Membership

ROUND_S = 0.02


@pytest.mark.parametrize(
    "fault", [errors.Unavailable("no answer"), KeyError("of a driver")]
)
def test_it_joins_again_within_few_rounds(fault: Exception) -> None:
    """Before the first one that joined takes the others for lost."""
    attempts: list[float] = []
    said: list[str] = []

    def join() -> AbstractContextManager[Membership]:
        attempts.append(time.monotonic())
        raise fault

    loop = MemberLoop(join, lambda _: None, lambda: None, said.append, ROUND_S)
    with loop.running():
        end = time.monotonic() + 10
        while len(attempts) < 6 and time.monotonic() < end:
            time.sleep(ROUND_S)
        assert not loop.is_member
    assert len(attempts) >= 6
    (line,) = said
    assert str(fault) in line
