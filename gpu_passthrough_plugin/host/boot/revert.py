"""Takes back what was done to how this host boots."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.boot.image_swap import ImageSwap
from gpu_passthrough_plugin.host.boot.journal import (
    MAX_TEXT_BYTES,
    BootJournal,
    JournalStore,
)
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import (
    Build,
    Leave,
    Merge,
    Rebuild,
    Rerun,
    Restore,
    UndoStep,
)
from gpu_passthrough_plugin.model.change_history import History


class Reverter:
    """Makes the steps of an undoing; forgets everything at its end.

    Where it was killed, an undoing planned anew goes on from there.

    :param say: told of each step when it is done, and of long ones.
    """

    def __init__(
        self,
        files: Files,
        commands: Commands,
        store: JournalStore,
        say: Callable[[str], None],
    ) -> None:
        self._files = files
        self._commands = commands
        self._store = store
        self._images = ImageSwap(files, commands)
        self._say = say

    def take_back(
        self,
        history: History,
        steps: Iterable[UndoStep],
        build: Callable[[Rebuild], Build | None],
    ) -> None:
        """Make every step, in order, then forget the history.

        :param build: what builds an image, asked when all files are back.
        :raises Conflict: when somebody edits what is to be put back.
        :raises Unavailable: when a step fails: the rest is not done.
        """
        self._commands.settle()
        self._images.sweep(history)
        journal = BootJournal(self._files, self._store, history)
        for step in steps:
            if isinstance(step, Restore):
                self._restore(history, step)
            elif isinstance(step, Merge):
                self._merge(journal, step)
            elif isinstance(step, Rerun):
                self._rerun(step)
            elif isinstance(step, Rebuild):
                self._rebuild(history, step, build(step))
            self._told(step)
        self._forget(history)

    def _told(self, step: UndoStep) -> None:
        if not isinstance(step, Leave):
            self._say(f"{step.step}: {step.action} {step.target}")
        if step.note:
            self._say(step.note)

    def _restore(self, history: History, step: Restore) -> None:
        if self._files.entry(step.path) != step.current:
            raise errors.Conflict(
                f"somebody changed {step.path} just now; it was left as it"
                " is: look at it, then run this again"
            )
        if step.sets_aside:
            self._set_aside(step)
        beside = history.files[step.path].backup_path
        if step.original is None:
            self._files.remove(step.path)
        elif beside:
            self._files.move(beside, step.path)
        else:
            copy = self._store.copy(step.original.digest)
            self._files.restore(step.path, copy, step.original.attributes)

    def _set_aside(self, step: Restore) -> None:
        """A command was killed: what there is now may be somebody's."""
        size = self._files.size(step.path) or 0
        contents = self._files.read(step.path)
        if step.current is None or contents is None or size > MAX_TEXT_BYTES:
            return
        name = posixpath.basename(step.path)
        path = self._store.set_aside(name, step.current.digest, contents)
        self._say(
            f"what {step.path} held after an interrupted command is in {path}"
        )

    def _rerun(self, step: Rerun) -> None:
        title = f"undo '{step.step}'"
        if step.output:
            new = self._images.menu(step.argv, step.output, title)
            self._images.place(new, self._files.real(step.output))
        else:
            self._commands.run(step.argv, title)

    def _merge(self, journal: BootJournal, step: Merge) -> None:
        # From here on the merge is the original: a second try finds it.
        journal.record_edit(step.edit)
        if step.edit.original is not None:
            self._files.put(step.edit.path, step.edit.original)

    def _rebuild(
        self, history: History, step: Rebuild, build: Build | None
    ) -> None:
        if build is None:
            self._say(
                f"nothing here builds {step.image}; build it anew by hand"
            )
            return
        kept = history.files.get(self._files.real(step.image))
        if kept and kept.backup_path:
            self._files.remove(kept.backup_path)
        self._images.require_room([build])
        self._images.swap(build, self._images.build(build))

    def _forget(self, history: History) -> None:
        self._images.sweep(history)
        for kept in history.files.values():
            if kept.backup_path:
                self._files.remove(kept.backup_path)
        for folder in reversed(history.folders):
            self._files.forget(folder)
        self._store.remove()
