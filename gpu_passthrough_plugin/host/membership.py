"""Agents that know of one another, through tooz's groups."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import urllib.parse
from collections.abc import Iterator, Mapping

import tooz
from tooz import coordination

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.lock_backend import GRACE_S, Backend, started
from gpu_passthrough_plugin.host.locks import Held, held, lock_name

_GROUP = b"gpu-passthrough-agents"
# How often an agent looks whether it is still listed.
_PULSE_S = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """An agent that lives.

    :param says: what it says of itself, such as its release.
    """

    name: str
    says: Mapping[str, str]


@contextlib.contextmanager
def joined(
    backend_url: str,
    name: str,
    says: Mapping[str, str],
    *,
    folder: str,
    timeout_s: float,
) -> Iterator[Membership]:
    """The agents, this one among them as long as it is inside.

    :param name: this agent's, which no other may have at the same time.
    :raises Refused: when another one that lives has the name.
    :raises Invalid: when the backend keeps locks only.
    :raises Unavailable: when it does not answer within ``timeout_s``.
    """
    member = urllib.parse.quote(name, safe="")
    with started(
        backend_url, member=member, folder=folder, timeout_s=timeout_s
    ) as backend:
        _require_groups(backend)
        with held(
            backend,
            _name_of(member),
            f"the name {name} among the agents",
            timeout_s,
            not_free=lambda: errors.Refused(
                f"another agent is called {name}; wanted a name of its own"
                " for each: see [DEFAULT] host on both"
            ),
        ) as own_name:
            found = Membership(backend, member, says, own_name)
            found.join()
            try:
                yield found
            finally:
                found.leave()


class Membership:
    """This agent among the others.

    :param member: its name as part of a path.
    :param own_name: held as long as it is one of them.
    """

    def __init__(
        self,
        backend: Backend,
        member: str,
        says: Mapping[str, str],
        own_name: Held,
    ) -> None:
        self._backend = backend
        self._member = member
        self._says = dict(says)
        self._own_name = own_name
        self._has_left = threading.Event()
        self.leadership = Leadership(backend)

    def members(self) -> tuple[Member, ...]:
        """Every agent that lives, by name.

        One that died is listed until its lease ends.
        """
        return self._backend.ask(self._members, GRACE_S)

    def require(self) -> None:
        """Nothing, where this agent's name is still its own.

        :raises Unavailable: when it was lost, or nobody can tell.
        """
        self._own_name.require()

    def join(self) -> None:
        self._backend.ask(self._join, GRACE_S)
        threading.Thread(target=self._stay, daemon=True).start()

    def leave(self) -> None:
        self._has_left.set()
        self.leadership.step_down()
        group = self._backend.coordinator
        with contextlib.suppress(errors.Unavailable):
            self._backend.ask(lambda: group.leave_group(_GROUP).get(), GRACE_S)

    def _join(self) -> None:
        group = self._backend.coordinator
        try:
            group.join_group_create(_GROUP, self._says)
        except coordination.MemberAlreadyExist:
            # Of one that died: the name is ours.
            group.leave_group(_GROUP).get()
            group.join_group_create(_GROUP, self._says)

    def _stay(self) -> None:
        """Join again when this agent was taken for dead.

        tooz's heart renews what ended, but does not join a second time.
        """
        while not self._has_left.wait(_PULSE_S):
            with contextlib.suppress(errors.Unavailable):
                if not self._backend.ask(self._is_listed, GRACE_S):
                    self._own_name.require()
                    self._backend.ask(self._join, GRACE_S)

    def _is_listed(self) -> bool:
        return self._said(self._member.encode()) is not None

    def _members(self) -> tuple[Member, ...]:
        group = self._backend.coordinator
        listed = sorted(group.get_members(_GROUP).get())
        found = {m: self._said(m) for m in listed if self._lives(m)}
        return tuple(
            Member(urllib.parse.unquote(member.decode()), says)
            for member, says in found.items()
            if says is not None
        )

    def _said(self, member: bytes) -> Mapping[str, str] | None:
        """What it says of itself; None where it left meanwhile."""
        group = self._backend.coordinator
        try:
            found: Mapping[str, str] = group.get_member_capabilities(
                _GROUP, member
            ).get()
        except (coordination.MemberNotJoined, coordination.GroupNotCreated):
            return None
        return found

    def _lives(self, member: bytes) -> bool:
        """Files outlive who wrote them; the lock of a name does not."""
        if self._backend.scheme != "file":
            return True
        if member.decode() == self._member:
            return True
        key = lock_name(_name_of(member.decode())).encode()
        lock = self._backend.coordinator.get_lock(key)
        is_free = lock.acquire(blocking=False)
        if is_free:
            lock.release()
        return not is_free


def _name_of(member: str) -> str:
    # No host's lock is called that: ``@`` is never part of a quoted name.
    return f"@agent-{member}"


def _require_groups(backend: Backend) -> None:
    def has_groups() -> bool:
        try:
            backend.coordinator.get_groups()
        except tooz.NotImplemented:
            return False
        return True

    if not backend.ask(has_groups, GRACE_S):
        raise errors.Invalid(
            f"tooz keeps locks, and no members, in {backend.scheme}; wanted"
            " etcd3+http, redis, zookeeper or file in [coordination]"
            " backend_url"
        )


# No host's lock is called that: ``@`` is never part of a quoted name.
_LEADER = "@leader"
_WHAT = "the leadership"


class _Taken(Exception):
    """Another one leads."""


class Leadership:
    """One of those who would lead."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._holding = contextlib.ExitStack()
        self._held: Held | None = None

    def leads(self) -> bool:
        """Whether this one leads now, after a try where nobody does.

        Who asks before each act acts alone, but for one that stood still
        between the answer and the act.

        :raises Unavailable: when the backend does not answer.
        """
        if self._held is None:
            self._try()
        if self._held is None:
            return False
        try:
            self._held.require()
        except errors.Unavailable:
            self.step_down()
            raise
        return True

    def step_down(self) -> None:
        """Let another one lead."""
        self._held = None
        self._holding.close()

    def _try(self) -> None:
        with contextlib.suppress(_Taken):
            self._held = self._holding.enter_context(
                held(self._backend, _LEADER, _WHAT, 0, not_free=_Taken)
            )


@contextlib.contextmanager
def candidate(
    backend_url: str, name: str, *, folder: str, timeout_s: float
) -> Iterator[Leadership]:
    """One that would lead, whether or not the backend lists members."""
    with started(
        backend_url, member=name, folder=folder, timeout_s=timeout_s
    ) as backend:
        leadership = Leadership(backend)
        try:
            yield leadership
        finally:
            leadership.step_down()
