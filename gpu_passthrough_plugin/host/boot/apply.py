"""Carries out a plan of changes to how this host boots."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence

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
    """Makes changes, each put down before and after.

    Where it was killed, the same plan or a new one goes on from there.

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

    def history(self) -> History | None:
        """What was done and not taken back, once nothing is running."""
        self._commands.settle()
        return self._store.read()

    def seen(self, history: History) -> dict[str, CurrentFile]:
        """Every file of the history as it is now."""
        return _all_seen(self._files, self._store, history)

    def built(self, history: History | None) -> dict[str, str]:
        """Images that are as we built them, and the digest of our inputs."""
        return _built(self._files, history)

    def carry_out(
        self,
        plan: Sequence[Change],
        enablement: Enablement,
        edits: Iterable[ForeignEdit] = (),
    ) -> None:
        """Make every change of the plan, in order.

        :param edits: what others did to files that were changed before.
        :raises Refused: before anything is done, when images do not fit.
        :raises Conflict: when somebody edits what is to be changed.
        :raises Unavailable: when a step fails: the rest is not done.
        """
        history = self.history()
        edits = tuple(edits)
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
            # Killed between the file and the journal.
            known = journal.history.record(record.kind, record.target)
            if known and not known.is_done:
                journal.finish(known)
            return
        kept = journal.history.files.get(path)
        entry = self._files.entry(path)
        is_known = (
            not kept
            or kept.pending == ANY
            or (entry is None or entry.digest in kept.known_digests)
        )
        if now != change.was or not is_known:
            raise errors.Conflict(
                f"somebody changed {change.path} just now; nothing more was"
                " done: look at it, then run this again"
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
        """Where it fails half way, its files are what they were."""
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
            self._files.restore(path, copy, entry.attributes)

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
        said = self._images.noted(change, new)
        coming = {image: entry.digest if entry else ""}
        if note:
            coming[note] = hashlib.sha256(said).hexdigest()
        journal.expect(coming)
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
    """Whether the plan is what was done, in this boot or another."""
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
    """Every file of the history, by path."""
    return {
        path: _seen(files, store, path, kept)
        for path, kept in history.files.items()
    }


def _built(files: Files, history: History | None) -> dict[str, str]:
    """Images that are as we built them, and the digest of our inputs."""
    found = {}
    for record in history.records if history else ():
        if (
            record.kind is not ChangeKind.BUILD
            or not record.is_done
            or not history
        ):
            continue
        left = history.files[record.paths[0]].last_written
        now = files.entry(record.paths[0])
        if left and now and left.digest == now.digest:
            found[record.target] = record.inputs
    return found


def _seen(
    files: Files, store: JournalStore, path: str, backup: FileBackup
) -> CurrentFile:
    now = files.entry(path)
    found = CurrentFile(now, has_backup=_is_kept(files, store, backup))
    is_known = now is None or now.digest in backup.known_digests
    if is_known or backup.pending == ANY or backup.backup_path:
        return found
    is_text = (files.size(path) or 0) <= MAX_TEXT_BYTES
    return found._replace(
        contents=files.read(path) if is_text else None,
        original=_kept(store, backup.original),
        last_written=_kept(store, backup.last_written),
    )


def _is_kept(files: Files, store: JournalStore, backup: FileBackup) -> bool:
    if backup.original is None:
        return True
    if not backup.backup_path:
        return store.is_kept(backup.original.digest)
    beside = files.entry(backup.backup_path)
    return beside is not None and beside.digest == backup.original.digest


def _kept(store: JournalStore, entry: FileState | None) -> bytes | None:
    return store.kept(entry.digest) if entry else b""
