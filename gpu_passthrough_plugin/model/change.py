"""One change to how a host boots, as data: planned, shown, then made."""

from __future__ import annotations

import dataclasses
import enum

from gpu_passthrough_plugin.model.change_history import Edit, Entry

BESIDE = "{beside}"
"""In an argument vector: where a file is made before it is in place."""


def shown(argv: tuple[str, ...], output: str) -> str:
    """A command as an operator would call it."""
    return " ".join(argv).replace(BESIDE, output)


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

    :param step: what it is for, in a few words an operator knows.
    :param path: absolute; where it is a symbolic link, the file behind it
        changes and the link stays.
    :param was: what the plan was made from; None for no file.
    :param becomes: None to remove the file.
    :param mode: of a file that is created; one that is there keeps its
        mode, owner and extended attributes.
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
        or not; each is kept before, and put back by the undoing.
    :param undo: what takes it back where somebody wrote those files
        since; empty where only putting them back does.
    :param is_needed: whether what it would do is still to be done.
    :param output: the one file that it writes, where ``BESIDE`` stands in
        ``argv`` and ``undo``: written beside the present one, looked at,
        and then put in its place.
    """

    step: str
    argv: tuple[str, ...]
    touches: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
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
    """Build an initramfs beside the present one, check it, swap them.

    The present one is kept until the change is undone.

    :param image: the image's absolute path.
    :param kernel: the release that it is for.
    :param argv: what builds it; ``BESIDE`` stands for the new image.
    :param listing: what lists the files in it; ``BESIDE`` as well.
    :param wanted: regular expressions, each of which a line of that
        listing has to match somewhere.
    :param inputs: a digest of what goes into the image by our doing.
    :param is_needed: whether the image lacks these inputs.
    """

    step: str
    image: str
    kernel: str
    argv: tuple[str, ...]
    listing: tuple[str, ...]
    wanted: tuple[str, ...]
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
