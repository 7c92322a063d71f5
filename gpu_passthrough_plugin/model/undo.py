"""Steps that take changes to a host back, as data: shown, then made."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.model.change import Action, shown
from gpu_passthrough_plugin.model.record import Entry


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """What somebody else did to a file that was changed.

    :param original: what it would hold without our change; None for no
        file.
    :param mixed: words of ours that ``original`` has in it nevertheless.
    :param is_lost: it was generated anew, so that what it would hold
        without us is not known.
    """

    path: str
    original: bytes | None
    mixed: tuple[str, ...] = ()
    is_lost: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Restore:
    """Put back what a file was.

    :param was: None to remove it; its contents are kept.
    :param now: what is there.
    :param sets_aside: whether what is there may be somebody's, so that a
        copy is kept.
    """

    step: str
    path: str
    was: Entry | None
    now: Entry | None
    sets_aside: bool = False
    note: str = ""

    @property
    def target(self) -> str:
        return self.path

    @property
    def action(self) -> Action:
        if self.was is None:
            return Action.REMOVE
        return Action.CREATE if self.now is None else Action.CHANGE


@dataclasses.dataclass(frozen=True, slots=True)
class Merge:
    """Take ours out of a file that somebody edited since."""

    step: str
    edit: Edit
    note: str = ""

    @property
    def target(self) -> str:
        return self.edit.path

    @property
    def action(self) -> Action:
        return Action.CHANGE


@dataclasses.dataclass(frozen=True, slots=True)
class Leave:
    """Leave a file as it is; ``note`` says why, and what to do."""

    step: str
    target: str
    note: str

    @property
    def action(self) -> Action:
        return Action.KEEP


@dataclasses.dataclass(frozen=True, slots=True)
class Rerun:
    """Run what takes a command back, after all files are back.

    :param output: as that of a ``Run``.
    """

    step: str
    argv: tuple[str, ...]
    note: str = ""
    output: str = ""

    @property
    def target(self) -> str:
        return shown(self.argv, self.output)

    @property
    def action(self) -> Action:
        return Action.RUN


@dataclasses.dataclass(frozen=True, slots=True)
class Rebuild:
    """Build an image anew, after all files are back.

    :param kernel: the release that it is for.
    """

    step: str
    image: str
    kernel: str
    note: str = ""

    @property
    def target(self) -> str:
        return self.image

    @property
    def action(self) -> Action:
        return Action.CHANGE


Undo = Restore | Merge | Leave | Rerun | Rebuild
