"""Whether the agents of hosts answer, and how a cordon says that one does not.

A lost host is one whose agent stopped answering; a fenced one is a lost host
that was powered off, so that what its guests had can be given up.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.unit import State, UnitRecord

LOST = "lost: "
FENCED = "fenced: "
"""How the reasons of such cordons begin; an operator's begins otherwise."""

# tooz keeps locks in these and no groups.
_WITHOUT_GROUPS = frozenset({"file", "mysql", "postgresql"})


def has_groups(backend_url: str) -> bool:
    """Return whether agents can know of one another through a backend.

    :param backend_url: tooz's URL.
    """
    return backend_url.partition("://")[0] not in _WITHOUT_GROUPS


def is_lost_or_fenced(reason: str) -> bool:
    """Return whether a cordon's reason is of a lost or fenced host."""
    return reason.startswith((LOST, FENCED))


def is_fenced(record: UnitRecord) -> bool:
    """Return whether a unit was given up when its host was fenced.

    Nothing is known of what its guest left on it.
    """
    is_quarantined = record.state is State.QUARANTINED
    return is_quarantined and record.reason.startswith(FENCED)


class AgentState(enum.StrEnum):
    """Whether the agent of a host answers.

    ``lost`` and ``fenced`` hosts are cordoned for that reason; one that
    ``does not answer`` is not cordoned for it, or not yet.
    """

    ANSWERS = "answers"
    SILENT = "does not answer"
    LOST = "lost"
    FENCED = "fenced"
    NONE = "no agent"
    UNKNOWN = "unknown"


def agent_state(
    record: HostRecord, members: Collection[str] | None
) -> AgentState:
    """Return whether the agent of a host answers.

    :param members: the hosts whose agents answer; None where that is
        unknown.
    """
    if members is not None and record.name in members:
        return AgentState.ANSWERS
    if record.is_cordoned and record.reason.startswith(LOST):
        return AgentState.LOST
    if record.is_cordoned and record.reason.startswith(FENCED):
        return AgentState.FENCED
    if not record.is_watched:
        return AgentState.NONE
    return AgentState.UNKNOWN if members is None else AgentState.SILENT
