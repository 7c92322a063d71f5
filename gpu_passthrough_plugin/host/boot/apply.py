"""How a plan of changes to this host's boot is carried out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.boot.image_swap import OLD, ImageSwap
from gpu_passthrough_plugin.host.boot.journal import (
    MAX_TEXT_BYTES,
    BootJournal,
    JournalStore,
)
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import (
    Action,
    Build,
    Change,
    Run,
    Write,
)
from gpu_passthrough_plugin.model.change_history import (
    ANY,
    GONE,
    ChangeKind,
    ChangeRecord,
    CurrentFile,
    Enablement,
    FileBackup,
    FileState,
    ForeignEdit,
    History,
)


class Applier:
    """Carries out plans; journals each change before and after it.

    After a kill, applying the same plan or another one resumes from there.

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

    def locked(self) -> AbstractContextManager[None]:
        """Keep every other process from changing this host's boot inside.

        :raises Unavailable: when another does for longer than it is waited
            for.
        """
        return self._store.lock()

    def history(self) -> History | None:
        """Return the changes not reverted yet; None if there are none.

        Wait first for a command that a killed caller left running.
        """
        self._commands.settle()
        return self._store.read()

    def current_files(self, history: History) -> dict[str, CurrentFile]:
        """Return the current state of every file in the history, by path."""
        return _all_seen(self._files, self._store, history)

    def built(self, history: History | None) -> dict[str, str]:
        """Return the digest of its inputs for each unchanged image of ours.

        :returns: by the target of the change that built the image.
        """
        return _built(self._files, history)

    def apply(
        self,
        plan: Sequence[Change],
        enablement: Enablement,
        edits: Iterable[ForeignEdit] = (),
    ) -> None:
        """Make every change of the plan, in order.

        :param edits: edits by others of files that an earlier plan changed.
        :raises Refused: before any change, when the new images do not fit.
        :raises Conflict: when a file is edited while the plan is applied.
        :raises Unavailable: when a step fails; later steps are not run.
        """
        with self.locked():
            self._apply(plan, enablement, tuple(edits))

    def _apply(
        self,
        plan: Sequence[Change],
        enablement: Enablement,
        edits: tuple[ForeignEdit, ...],
    ) -> None:
        history = self.history()
        if history and _is_idle(history, plan, enablement, edits):
            return
        if history is None:
            self._store.remove()
            history = History(enablement)
        self._images.sweep(history)
        self._images.require_room(_builds(plan))
        journal = BootJournal(self._files, self._store, history)
        journal.open(enablement, edits)
        for change in plan:
            self._change(journal, change)
        journal.close()

    def _change(self, journal: BootJournal, change: Change) -> None:
        if isinstance(change, Write):
            self._write(journal, change)
        elif change.action is Action.KEEP:
            return
        elif isinstance(change, Run):
            self._run(journal, change)
        else:
            self._build(journal, change)
        if change.action is not Action.KEEP:
            self._say(f"{change.step}: {change.action} {change.target}")

    def _write(self, journal: BootJournal, change: Write) -> None:
        path = self._files.real(change.path)
        now = self._files.read(path)
        record = ChangeRecord(
            ChangeKind.WRITE, change.step, change.target, paths=(path,)
        )
        if now == change.becomes:
            # An earlier run was killed between the file and the journal.
            earlier = journal.history.record(record.kind, record.target)
            if earlier and not earlier.is_done:
                journal.finish(earlier)
            return
        backup = journal.history.files.get(path)
        entry = self._files.entry(path)
        is_recorded = (
            not backup
            or backup.pending == ANY
            or (entry is None or entry.digest in backup.known_digests)
        )
        if now != change.was or not is_recorded:
            raise errors.Conflict(
                f"{change.path} changed while this command ran; stopped;"
                f" check {change.path} and run the command again"
            )
        if change.becomes is None:
            journal.begin(record, {path: GONE})
            self._files.remove(path)
        else:
            journal.begin(record, {path: journal.back_up(change.becomes)})
            self._files.put(path, change.becomes, change.mode)
        journal.finish(record)

    def _run(self, journal: BootJournal, change: Run) -> None:
        paths = tuple(dict.fromkeys(map(self._files.real, change.touches)))
        record = ChangeRecord(
            ChangeKind.RUN,
            change.step,
            change.target,
            paths=paths,
            undo_argv=change.undo_argv,
        )
        if change.output:
            journal.begin(record, dict.fromkeys(paths, ""))
            menu = self._files.real(change.output)
            new = self._images.menu(change.argv, change.output, change.step)
            entry = self._files.entry(new)
            journal.expect({menu: entry.digest if entry else ""})
            self._images.place(new, menu)
        else:
            self._run_over(journal, record, change)
        journal.finish(record)

    def _run_over(
        self, journal: BootJournal, record: ChangeRecord, change: Run
    ) -> None:
        """Run a command that writes files itself; restore them if it fails."""
        before = {path: self._files.entry(path) for path in record.paths}
        journal.begin(record, dict.fromkeys(record.paths, ANY))
        try:
            self._commands.run(change.argv, change.step)
        except errors.Error:
            for path, entry in before.items():
                self._put_back(path, entry)
            raise

    def _put_back(self, path: str, entry: FileState | None) -> None:
        if self._files.entry(path) == entry:
            return
        if entry is None:
            self._files.remove(path)
        elif self._store.is_kept(entry.digest):
            copy = self._store.copy(entry.digest)
            self._files.restore(path, copy, entry)
        else:
            self._say(
                f"{path} was not put back: its copy"
                f" {self._store.copy(entry.digest)} is missing or damaged;"
                " restore it manually"
            )

    def _build(self, journal: BootJournal, change: Build) -> None:
        image = self._files.real(change.image)
        note = self._images.note(change.kernel)
        record = ChangeRecord(
            ChangeKind.BUILD,
            change.step,
            change.target,
            paths=(image, note) if note else (image,),
            kernel=change.kernel,
            inputs=change.inputs,
        )
        journal.begin_image(record, f"{image}{OLD}")
        new = self._images.build(change)
        entry = self._files.entry(new)
        pending = {image: entry.digest if entry else ""}
        if note:
            text = self._images.note_text(change, new)
            pending[note] = hashlib.sha256(text).hexdigest()
        journal.expect(pending)
        self._images.swap(change, new)
        journal.finish(record)


def _builds(plan: Sequence[Change]) -> list[Build]:
    return [
        change
        for change in plan
        if isinstance(change, Build) and change.action is not Action.KEEP
    ]


def _is_idle(
    history: History,
    plan: Sequence[Change],
    enablement: Enablement,
    edits: Sequence[ForeignEdit],
) -> bool:
    """Return whether the plan was applied before, in this boot or another."""
    same = dataclasses.replace(enablement, boot_id=history.enablement.boot_id)
    return (
        same == history.enablement
        and history.is_finished
        and not history.unfinished
        and not edits
        and all(change.action is Action.KEEP for change in plan)
    )


def _all_seen(
    files: Files, store: JournalStore, history: History
) -> dict[str, CurrentFile]:
    """Return the current state of every file in the history, by path."""
    return {
        path: _seen(files, store, path, kept)
        for path, kept in history.files.items()
    }


def _built(files: Files, history: History | None) -> dict[str, str]:
    inputs = {}
    for record in history.records if history else ():
        if (
            record.kind is not ChangeKind.BUILD
            or not record.is_done
            or not history
        ):
            continue
        written = history.files[record.paths[0]].last_written
        now = files.entry(record.paths[0])
        if written and now and written.digest == now.digest:
            inputs[record.target] = record.inputs
    return inputs


def _seen(
    files: Files, store: JournalStore, path: str, backup: FileBackup
) -> CurrentFile:
    now = files.entry(path)
    current = CurrentFile(now, has_backup=_is_kept(files, store, backup))
    is_recorded = now is None or now.digest in backup.known_digests
    if is_recorded or backup.pending == ANY or backup.backup_path:
        return current
    is_text = (files.size(path) or 0) <= MAX_TEXT_BYTES
    return current._replace(
        contents=files.read(path) if is_text else None,
        original=_kept(store, backup.original),
        last_written=_kept(store, backup.last_written),
    )


def _is_kept(files: Files, store: JournalStore, backup: FileBackup) -> bool:
    if backup.original is None:
        return True
    if not backup.backup_path:
        return store.is_kept(backup.original.digest)
    saved = files.entry(backup.backup_path)
    return saved is not None and saved.digest == backup.original.digest


def _kept(store: JournalStore, entry: FileState | None) -> bytes | None:
    return store.kept(entry.digest) if entry else b""
