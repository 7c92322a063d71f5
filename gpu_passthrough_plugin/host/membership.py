"""Which agents of several hosts are alive, and which one of them leads.

tooz elects leaders on two backends only, and never checks whether the
elected one still holds its lock; here, the leader is the agent that holds
the leader's lock, on every backend.
"""

from __future__ import annotations

import contextlib
import os
import urllib.parse
from collections.abc import Iterator, Mapping

from tooz import coordination

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.lock_backend import (
    LockBackend,
    connected,
    started,
)
from gpu_passthrough_plugin.host.locks import Require, locked
from gpu_passthrough_plugin.model import agent_state

_GROUP = b"gpu-passthrough-agents"
# No host's lock is called that: ``@`` is never part of a quoted name.
_LEADER = "@leader"


class _Taken(Exception):
    """Another agent leads."""


@contextlib.contextmanager
def joined(
    backend_url: str,
    name: str,
    capabilities: Mapping[str, str],
    *,
    folder: str,
    timeout_s: float,
) -> Iterator[Membership]:
    """Join the agents, and leave them at the end.

    :param name: this agent's; no other agent may have it.
    :param capabilities: what other agents can read, such as its version.
    :param folder: for lock files; created if it is missing.
    :raises Refused: when another agent has the name.
    :raises Unavailable: when the backend does not answer in time.
    """
    # tooz makes the name a part of paths.
    member = urllib.parse.quote(name, safe="")
    with (
        connected(
            backend_url, member=member, folder=folder, timeout_s=timeout_s
        ) as backend,
        locked(
            backend,
            f"@agent-{member}",
            f"the agent name {name}",
            timeout_s,
            not_free=lambda: errors.Refused(
                f"another agent is named {name}; give each its own name in"
                " [DEFAULT] host"
            ),
        ) as require_name,
    ):
        membership = Membership(backend, member, capabilities, require_name)
        membership.join()
        try:
            yield membership
        finally:
            membership.leave()


def names(backend_url: str, timeout_s: float) -> frozenset[str]:
    """Return the name of every agent, for one who is none.

    :param backend_url: of a backend that has groups.
    :raises Unavailable: when the backend does not answer in time.
    """
    asking = f"{os.uname().nodename}-{os.getpid()}"
    with started(backend_url, asking, timeout_s) as backend:
        return _names(backend)


def _names(backend: LockBackend) -> frozenset[str]:
    def names_in_group() -> list[bytes]:
        try:
            return list(backend.coordinator.get_members(_GROUP).get())
        except coordination.GroupNotCreated:
            return []

    return frozenset(map(_name, backend.call(names_in_group)))


def _name(member: bytes) -> str:
    """Return a member's name; whoever reaches the server may add any."""
    return urllib.parse.unquote(member.decode(errors="replace"))


class Membership:
    """One agent among the others.

    :param member: its name as part of a path.
    :param require_name: raises when another agent may have the name.
    """

    def __init__(
        self,
        backend: LockBackend,
        member: str,
        capabilities: Mapping[str, str],
        require_name: Require,
    ) -> None:
        self._backend = backend
        self._has_groups = agent_state.has_groups(f"{backend.scheme}://")
        self._member = member
        self._capabilities = dict(capabilities)
        self._require_name = require_name
        self._require_leading: Require | None = None
        self._leading = contextlib.ExitStack()

    def require(self) -> None:
        """Raise unless this agent still holds its name; call it every round.

        An agent that was stalled, and is listed no more, joins again.

        :raises Unavailable: when the name was lost, or that is unknown.
        """
        self._require_name()
        if self._has_groups and not self._backend.call(self._is_listed):
            self._backend.call(self._join)

    def members(self) -> Mapping[str, Mapping[str, str]]:
        """Return the capabilities of every agent, by name.

        An agent that was killed is listed until its lease ends.

        :raises Invalid: when the backend has locks only.
        """
        if self._backend.scheme == "file":
            # A folder belongs to one host, which has one agent.
            return {urllib.parse.unquote(self._member): self._capabilities}
        if not self._has_groups:
            raise errors.Invalid(
                f"tooz lists no members in {self._backend.scheme}; use"
                " etcd3+http, redis or zookeeper in [coordination]"
                " backend_url"
            )
        return self._backend.call(self._members)

    def names(self) -> frozenset[str]:
        """Return the name of every agent, in one request to a backend.

        As of ``members``, for a backend that has groups.
        """
        return _names(self._backend)

    def leads(self) -> bool:
        """Return whether this agent leads; become the leader if none does.

        :raises Unavailable: when the leadership was lost, or that is
            unknown; this agent is the leader no longer.
        """
        if self._require_leading is None:
            with contextlib.suppress(_Taken):
                lock = locked(
                    self._backend,
                    _LEADER,
                    "the leadership",
                    0,
                    not_free=_Taken,
                )
                self._require_leading = self._leading.enter_context(lock)
        if self._require_leading is None:
            return False
        try:
            self._require_leading()
        except errors.Unavailable:
            self._step_down()
            raise
        return True

    def join(self) -> None:
        if self._has_groups:
            self._backend.call(self._join)

    def leave(self) -> None:
        self._step_down()
        with contextlib.suppress(errors.Unavailable):
            # If the name was lost, the entry is its next holder's.
            self._require_name()
            if self._has_groups:
                self._backend.call(self._leave)

    def _step_down(self) -> None:
        self._require_leading = None
        self._leading.close()

    def _join(self) -> None:
        group = self._backend.coordinator
        try:
            group.join_group_create(_GROUP, self._capabilities)
        except coordination.MemberAlreadyExist:
            # Left by an agent that was killed and whose lease still runs.
            self._leave()
            group.join_group_create(_GROUP, self._capabilities)

    def _leave(self) -> None:
        self._backend.coordinator.leave_group(_GROUP).get()

    def _members(self) -> Mapping[str, Mapping[str, str]]:
        names = sorted(self._backend.coordinator.get_members(_GROUP).get())
        listed = {_name(name): self._listed(name) for name in names}
        return {
            name: capabilities
            for name, capabilities in listed.items()
            if capabilities is not None
        }

    def _is_listed(self) -> bool:
        return self._listed(self._member.encode()) is not None

    def _listed(self, member: bytes) -> Mapping[str, str] | None:
        """Return a member's capabilities; None when it has left."""
        group = self._backend.coordinator
        try:
            capabilities: Mapping[str, str] = group.get_member_capabilities(
                _GROUP, member
            ).get()
        except (coordination.MemberNotJoined, coordination.GroupNotCreated):
            return None
        return capabilities
