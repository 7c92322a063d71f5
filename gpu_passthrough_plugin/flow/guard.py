"""What libvirt's hook does at each step of a guest's life.

Imports next to nothing: libvirt waits for it.  Where what the generated
script knows is not enough, ``cli.guard`` calls the same with the whole
configuration and the ledger's driver.
"""

from __future__ import annotations

import time

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.sql.direct import Direct, Unsuited
from gpu_passthrough_plugin.compute.hook import decision, document
from gpu_passthrough_plugin.host.hook import groups, state
from gpu_passthrough_plugin.model.guard import HOOK, Answer, Guest, Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Books(Protocol):
        """The ledger, as far as the hook needs it."""

        def attempt(
            self, uuid: str, decide: Callable[[Ledger], Answer], request: str
        ) -> Answer:
            """What was decided on the ledger as it is, and done in it."""

        def let_go(self, uuid: str) -> bool:
            """Whether something of its is to be given back.

            What was active is releasing then.
            """


PREPARE, RELEASE, RECONNECT = "prepare", "release", "reconnect"
FORMAT = 1
"""Of what a generated script knows; another one's is read anew."""

_NAP_S = 0.1
# After that long, what is waited for may have died.
_PATIENCE_S = 10


class Post:
    """Where a hook stands.

    :param root: the host is read below it.
    :param wait_s: how long what a guest had before may take to be free.
    :param hand_over: begins to give back what an instance had.
    """

    __slots__ = (
        "books",
        "hand_over",
        "root",
        "rules",
        "state_path",
        "wait_s",
    )

    def __init__(
        self,
        books: Books,
        rules: decision.Rules,
        hand_over: Callable[[str], None],
        *,
        root: str,
        state_path: str,
        wait_s: float,
    ) -> None:
        self.books = books
        self.rules = rules
        self.hand_over = hand_over
        self.root = root
        self.state_path = state_path
        self.wait_s = wait_s


def answer(
    baked: Mapping[str, Any],
    name: str,
    operation: str,
    text: bytes,
    hand_over: Callable[[str], None],
) -> int | None:
    """What ``act`` returns, by what a generated script knows.

    None where that is not enough: the configuration is another by now, or
    the ledger is no file of this release's.
    """
    if baked["format"] != FORMAT or not baked["ledger"]:
        return None
    if baked["node"] != state.node() or any(
        state.stamp(path) != was for path, was in baked["files"]
    ):
        line = (
            "the configuration changed since the hook was made, so that each"
            " guest starts later: run 'gpu-passthrough hook install'"
        )
        state.complain((line,), is_final=False)
        return None
    post = Post(
        Direct(baked["ledger"], baked["host"]),
        decision.Rules(
            baked["mode"],
            decision.Patterns(baked["select"]).match,
            decision.Patterns(baked["exclude"]).match,
        ),
        hand_over,
        root=baked["root"],
        state_path=baked["state_path"],
        wait_s=baked["wait_s"],
    )
    try:
        return act(post, name, operation, text)
    except Unsuited:
        return None


def act(post: Post, name: str, operation: str, text: bytes) -> int:
    """The hook's exit status; what is wrong is on standard error.

    Only a start is ever refused: libvirt would kill a running guest whose
    hook fails when it reconnects.
    """
    is_start = operation == PREPARE
    try:
        guest = document.guest(text, name)
        if not guest.functions:
            return 0
        if is_start:
            _prepare(post, guest)
        elif operation == RECONNECT:
            _reconnect(post, guest)
        else:
            _release(post, guest)
    except (errors.Error, OSError) as error:
        state.complain((f"domain {name}: {error}",), is_final=is_start)
        return 1 if is_start else 0
    return 0


def _prepare(post: Post, guest: Guest) -> None:
    """Have the guest's units active for it.

    :raises Refused: when it may not start.
    """
    begun = time.monotonic()
    is_begun_again = False
    while True:
        found = _answer(post, guest, is_running=False)
        if found.refusals:
            raise errors.Refused("; ".join(found.refusals))
        if not found.waits_for:
            return
        age_s = time.monotonic() - begun
        if age_s > post.wait_s:
            raise errors.Refused(
                f"{', '.join(found.waits_for)} of the guest that had it before"
                f" was not reset and free within {post.wait_s:g} s ([hook]"
                " wait_s); see 'journalctl -t gpu-passthrough', then run"
                f" 'gpu-passthrough hook release {guest.uuid}'"
            )
        if age_s > _PATIENCE_S and not is_begun_again:
            is_begun_again = True
            post.hand_over(guest.uuid)
        time.sleep(_NAP_S)


def _reconnect(post: Post, guest: Guest) -> None:
    """Have a running guest's units active for it, where they are free.

    :raises Refused: when they are another's.
    """
    found = _answer(post, guest, is_running=True)
    if found.refusals or found.waits_for:
        said = "; ".join(found.refusals) or (
            f"{', '.join(found.waits_for)} is being given back"
        )
        raise errors.Refused(f"it is running, and yet {said}")


def _release(post: Post, guest: Guest) -> None:
    """Begin to give back what the guest had.

    What ``instance boot`` started is ``instance release``'s to end.
    """
    if state.is_in_journal(post.state_path, guest.uuid):
        return
    if post.books.let_go(guest.uuid):
        post.hand_over(guest.uuid)


def _answer(post: Post, guest: Guest, *, is_running: bool) -> Answer:
    found = groups.groups(post.root, guest.functions)
    is_in_journal = state.is_in_journal(post.state_path, guest.uuid)
    return post.books.attempt(
        guest.uuid,
        lambda ledger: decision.answer(
            guest,
            found,
            ledger,
            post.rules,
            is_in_journal=is_in_journal,
            is_running=is_running,
        ),
        HOOK,
    )
