"""The agent is killed in the middle of what it does for the hook.

The hook's answer and the ledger are the same as without an agent.
"""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import pytest

from tests.functional.hooked import (
    AUDIO,
    GPU,
    ME,
    SECOND,
    HookedHost,
    xml,
)
from tests.functional.lab import campaign

TEXT = xml(GPU, AUDIO, *SECOND)
# Kills at the so manieth step, before or after it is done: a worker alone, or
# all of the agent.  Half of a message is sent where it is killed within one.
KILLS = """
import os, signal, sys
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.host import hook_socket
from gpu_passthrough_plugin.host.ended_guests import EndedGuests

left, is_worker_alone = int(sys.argv.pop(1)), sys.argv.pop(1) == "worker"
agent = os.getpid()

def step(name):
    global left
    left -= 1
    if left == 0:
        print("killed at", name, file=sys.stderr, flush=True)
        if not is_worker_alone:
            os.kill(agent, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

def stepped(owner, name):
    act = getattr(owner, name)
    def wrapper(self, *args, **kwargs):
        step("before " + name)
        result = act(self, *args, **kwargs)
        step("after " + name)
        return result
    setattr(owner, name, wrapper)

for name in ("records", "claim_units", "move"):
    stepped(SqlLedger, name)
for name in ("write", "remove"):
    stepped(EndedGuests, name)
stepped(hook_socket.Conversation, "request")

send = hook_socket.Conversation._send
def sent(self, kind, body):
    step("before message " + kind.decode())
    self._connection.send(kind)
    step("within message " + kind.decode())
    whole = len(body).to_bytes(4, "big") + body
    self._connection.sendall(whole)
    step("after message " + kind.decode())
hook_socket.Conversation._send = sent
"""
# Of each operation; at step 0 it is killed before the hook asks.
STEPS = {"prepare": 28, "release": 16}
POINTS = [
    (operation, step, victim)
    for operation, most in STEPS.items()
    for step, victim in itertools.product(range(most + 1), ("worker", "agent"))
]


@pytest.fixture
def host(tmp_path: Path) -> HookedHost:
    made = HookedHost(tmp_path)
    made.install()
    return made


@pytest.mark.parametrize("shard", campaign.shards())
def test_the_answer_is_that_without_an_agent(
    host: HookedHost, shard: str
) -> None:
    for operation, step, victim in campaign.of_shard(shard, POINTS, 4):
        if operation == "release":
            with host.agent():
                assert host.call(TEXT).returncode == 0
        with host.agent(KILLS, str(step), victim) as agent:
            if not step:
                os.kill(agent.pid, signal.SIGKILL)
            end = "end" if operation == "release" else "begin"
            done = host.call(TEXT, operation, end)
        point = f"{operation}, step {step}, {victim}"
        assert (done.returncode, done.stderr) == (0, ""), point
        assert agent.errors.startswith("killed at ") == bool(step), point
        state = "releasing" if operation == "release" else "active"
        states = host.states()
        for address in (GPU, SECOND[0]):
            assert states[address] == (state, ME), point
        assert len([s for s in states.values() if s[1]]) == 2, point
        is_noted = (host.state / "ended" / ME).exists()
        assert is_noted == (operation == "release"), point
        host.free(ME)
