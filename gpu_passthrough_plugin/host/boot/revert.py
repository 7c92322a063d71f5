"""How changes to this host's boot are reverted."""

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
    """Carries out the steps that revert a history, then deletes it.

    After a kill, reverting with newly planned steps resumes from there.

    :param say: called with a line for each finished or long step.
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

    def revert(
        self,
        history: History,
        steps: Iterable[UndoStep],
        build: Callable[[Rebuild], Build | None],
    ) -> None:
        """Carry out every step, in order, then delete the history.

        :param build: returns how an image is built; called when all files
            are restored.
        :raises Conflict: when a file is edited while it is reverted, or the
            history is no longer the one that the steps were made of.
        :raises Unavailable: when a step fails; later steps are not run.
        """
        with self._store.lock():
            self._revert(history, steps, build)

    def _revert(
        self,
        history: History,
        steps: Iterable[UndoStep],
        build: Callable[[Rebuild], Build | None],
    ) -> None:
        self._commands.settle()
        if self._store.read() != history:
            raise errors.Conflict(
                "another command changed this host's boot files while this"
                " one waited; stopped; run the command again"
            )
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
                f"{step.path} changed while this command ran; it was left"
                f" unchanged; check {step.path} and run the command again"
            )
        if step.sets_aside:
            self._set_aside(step)
        backup_path = history.files[step.path].backup_path
        if step.original is None:
            self._files.remove(step.path)
        elif backup_path:
            self._files.move(backup_path, step.path)
        else:
            copy = self._store.copy(step.original.digest)
            self._files.restore(step.path, copy, step.original)

    def _set_aside(self, step: Restore) -> None:
        """Save a file that may have been edited after a command was killed."""
        size = self._files.size(step.path) or 0
        contents = self._files.read(step.path)
        if step.current is None or contents is None or size > MAX_TEXT_BYTES:
            return
        name = posixpath.basename(step.path)
        path = self._store.set_aside(name, step.current.digest, contents)
        self._say(
            f"saved {step.path}, as an interrupted command left it, to {path}"
        )

    def _save_damaged(self, path: str, digest: str) -> None:
        """Save a copy that was not restored, for whoever restores the file."""
        contents = self._store.damaged(digest)
        if contents is not None:
            name = f"{posixpath.basename(path)}-damaged"
            saved = self._store.set_aside(name, digest, contents)
            self._say(f"saved the damaged copy of {path} to {saved}")

    def _rerun(self, step: Rerun) -> None:
        title = f"undo '{step.step}'"
        if step.output:
            new = self._images.menu(step.argv, step.output, title)
            self._images.place(new, self._files.real(step.output))
        else:
            self._commands.run(step.argv, title)

    def _merge(self, journal: BootJournal, step: Merge) -> None:
        # The merge is the original from here on, so that a retry finds it.
        journal.record_edit(step.edit)
        if step.edit.original is not None:
            self._files.put(step.edit.path, step.edit.original)

    def _rebuild(
        self, history: History, step: Rebuild, build: Build | None
    ) -> None:
        if build is None:
            self._say(
                f"no initramfs tool found for {step.image}; rebuild it"
                " manually"
            )
            return
        backup = history.files.get(self._files.real(step.image))
        if backup and backup.backup_path:
            self._files.remove(backup.backup_path)
        self._images.require_room([build])
        self._images.swap(build, self._images.build(build))

    def _forget(self, history: History) -> None:
        self._images.sweep(history)
        for path, backup in history.files.items():
            if backup.backup_path:
                self._files.remove(backup.backup_path)
            elif backup.original:
                self._save_damaged(path, backup.original.digest)
        for folder in reversed(history.folders):
            self._files.forget(folder)
        self._store.remove()
