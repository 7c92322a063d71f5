"""Whether a host's agent answers, by its record and who is in the group."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.model import agent_state
from gpu_passthrough_plugin.model.agent_state import AgentState
from gpu_passthrough_plugin.model.allocation import HostRecord

HOST = HostRecord("h", 1, False, "", frozenset(), is_watched=True)
LOST = dataclasses.replace(HOST, is_cordoned=True, reason="lost: no answer")
FENCED = dataclasses.replace(HOST, is_cordoned=True, reason="fenced: by ann")
FANS = dataclasses.replace(HOST, is_cordoned=True, reason="new fans")
UNWATCHED = dataclasses.replace(HOST, is_watched=False)


@pytest.mark.parametrize(
    ("record", "members", "expected"),
    [
        (HOST, {"h", "i"}, AgentState.ANSWERS),
        # It is back, and will be offered soon.
        (LOST, {"h"}, AgentState.ANSWERS),
        (UNWATCHED, {"h"}, AgentState.ANSWERS),
        (HOST, {"i"}, AgentState.SILENT),
        (FANS, set(), AgentState.SILENT),
        (LOST, {"i"}, AgentState.LOST),
        (LOST, None, AgentState.LOST),
        (FENCED, None, AgentState.FENCED),
        (HOST, None, AgentState.UNKNOWN),
        (UNWATCHED, None, AgentState.NONE),
        (UNWATCHED, set(), AgentState.NONE),
    ],
)
def test_the_state_of_an_agent(
    record: HostRecord, members: set[str] | None, expected: AgentState
) -> None:
    assert agent_state.agent_state(record, members) is expected


def test_which_backends_have_groups() -> None:
    with_groups = [
        url
        for url in (
            "file:///locks",
            "mysql://server/locks",
            "postgresql://server/locks",
            "etcd3+http://server:2379",
            "etcd3+https://server:2379",
            "redis://server",
            "zookeeper://server",
        )
        if agent_state.has_groups(url)
    ]
    assert [url.partition(":")[0] for url in with_groups] == [
        "etcd3+http",
        "etcd3+https",
        "redis",
        "zookeeper",
    ]
