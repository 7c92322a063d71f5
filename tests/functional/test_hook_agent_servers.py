"""The agent's own connections to a server, which it keeps for the hook."""

from __future__ import annotations

import time

from gpu_passthrough_plugin.flow.hook import RELEASE_LIMIT_S
from tests.functional.hooked import AUDIO, GPU, ME, xml
from tests.functional.test_hook_silence import (
    WHOLE,
    Behind,
    behind,
    given_back,
)

pytest_plugins = (
    "tests.functional.servers.fixtures",
    "tests.functional.placement.fixtures",
)
# A fixture.
__all__ = ["behind"]


def test_connections_come_back_and_what_is_silent_is_left(
    behind: Behind,
) -> None:
    host, proxy = behind.host, behind.proxy
    # What is answered here, the agent said.
    host.install(python="/nowhere/python3")
    with host.agent():
        assert host.call(WHOLE).returncode == 0
        kept = proxy.connections
        assert kept >= 1
        assert host.call(WHOLE).returncode == 0
        assert proxy.connections == kept
        for hard in (False, True):
            given_back(behind)
            proxy.cut(hard=hard)
            done = host.call(WHOLE)
            assert (done.returncode, done.stderr) == (0, "")
            assert behind.state() == ("active", ME)
        proxy.fall_silent(0)
        begun = time.monotonic()
        done = host.call(WHOLE, "release", "end")
        took_s = time.monotonic() - begun
        assert (done.returncode, done.stderr.count("\n")) == (0, 1)
        assert RELEASE_LIMIT_S <= took_s < RELEASE_LIMIT_S + 3
        proxy.speak()
        assert behind.state() == ("active", ME)
        assert f"without {GPU}" in host.call(xml(AUDIO)).stderr
