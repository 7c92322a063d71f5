"""Changes to how a host boots, and steps that undo these, as data.

They are planned, shown to the operator, and then carried out.
"""

from __future__ import annotations

import dataclasses
import enum

from gpu_passthrough_plugin.model.change_history import FileState, ForeignEdit

NEW_PATH = "{new}"
"""In an argument vector: the path at which a file is made, before it
replaces the present one."""


def shown(argv: tuple[str, ...], output: str) -> str:
    """Return a command as an operator would call it."""
    return " ".join(argv).replace(NEW_PATH, output)


class Action(enum.StrEnum):
    """What a change does to its target."""

    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    RUN = "run"
    KEEP = "keep"


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """Give a file these contents.

    :param step: what it is for, in a few words for the operator.
    :param path: absolute; where it is a symbolic link, the file that it
        leads to changes and the link stays.
    :param was: the contents that it was planned from; None for no file.
    :param becomes: None to remove the file.
    :param mode: of a file that is created; one that exists keeps its mode,
        owner and extended attributes.
    """

    step: str
    path: str
    was: bytes | None
    becomes: bytes | None
    mode: int = 0o644

    @property
    def target(self) -> str:
        return self.path

    @property
    def action(self) -> Action:
        if self.was == self.becomes:
            return Action.KEEP
        if self.was is None:
            return Action.CREATE
        return Action.REMOVE if self.becomes is None else Action.CHANGE


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Run a command that writes files of its own.

    :param argv: the command, by its absolute path, and its arguments.
    :param touches: absolute paths of every file that it may write, there
        or not; each is saved before, and restored when it is undone.
    :param undo_argv: the command that undoes it where others wrote those
        files since; empty where only restoring them does.
    :param is_needed: whether what it would do is still to be done.
    :param output: the one file that it writes, where ``NEW_PATH`` is in
        ``argv`` and ``undo_argv``: it is made at another path, checked, and
        then put in its place.
    """

    step: str
    argv: tuple[str, ...]
    touches: tuple[str, ...] = ()
    undo_argv: tuple[str, ...] = ()
    is_needed: bool = True
    output: str = ""

    @property
    def target(self) -> str:
        return shown(self.argv, self.output)

    @property
    def action(self) -> Action:
        return Action.RUN if self.is_needed else Action.KEEP


@dataclasses.dataclass(frozen=True, slots=True)
class Build:
    """Build an initramfs at another path, check it, and swap the two.

    The present one is kept until the change is undone.

    :param image: absolute path of the image.
    :param kernel: the release that it is for.
    :param argv: what builds it, with ``NEW_PATH`` for the new image.
    :param list_argv: what lists the files in it, with ``NEW_PATH`` as well.
    :param required_patterns: regular expressions; each has to match within
        a line of that listing.
    :param inputs: digest of what this product puts into the image.
    :param is_needed: whether the image lacks these inputs.
    """

    step: str
    image: str
    kernel: str
    argv: tuple[str, ...]
    list_argv: tuple[str, ...]
    required_patterns: tuple[str, ...]
    inputs: str
    is_needed: bool = True

    @property
    def target(self) -> str:
        return self.image

    @property
    def action(self) -> Action:
        return Action.CHANGE if self.is_needed else Action.KEEP


Change = Write | Run | Build


def is_change(change: Change) -> bool:
    """Return whether anything is to be done; a plan has other rows as well."""
    return change.action is not Action.KEEP


@dataclasses.dataclass(frozen=True, slots=True)
class Restore:
    """Restore the original of a file.

    :param original: None to remove the file; its contents are kept with the
        history.
    :param current: what the file is now.
    :param sets_aside: whether what it holds now may be the work of others,
        so that a copy is kept for good.
    """

    step: str
    path: str
    original: FileState | None
    current: FileState | None
    sets_aside: bool = False
    note: str = ""

    @property
    def target(self) -> str:
        return self.path

    @property
    def action(self) -> Action:
        if self.original is None:
            return Action.REMOVE
        return Action.CREATE if self.current is None else Action.CHANGE


@dataclasses.dataclass(frozen=True, slots=True)
class Merge:
    """Remove this product's change from a file that was edited since."""

    step: str
    edit: ForeignEdit
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
    """Run what undoes a command, after all files are restored.

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
    """Build an image again, after all files are restored.

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


UndoStep = Restore | Merge | Leave | Rerun | Rebuild
