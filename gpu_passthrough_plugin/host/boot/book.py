"""Keeps the history of changes, each act put down before it is done."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin.host.boot.journal import Changes
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change_history import (
    ChangeRecord,
    Enablement,
    FileBackup,
    FileState,
    ForeignEdit,
    History,
)

MAX_TEXT_BYTES = 1 << 20
"""What is longer is no text that somebody edits."""


class Book:
    """One host's history, in memory and on disk.

    :param history: as it was read.
    """

    def __init__(
        self, files: Files, changes: Changes, history: History
    ) -> None:
        self._files = files
        self._changes = changes
        self.history = history

    def open(
        self, enablement: Enablement, edits: Iterable[ForeignEdit]
    ) -> None:
        """Begin a plan; what others edited becomes the original."""
        self.history = dataclasses.replace(
            self.history, enablement=enablement, is_finished=False
        )
        for edit in edits:
            self.note(edit)
        self._write()

    def close(self) -> None:
        """All of the plan is done."""
        self.history = dataclasses.replace(self.history, is_finished=True)
        self._write()

    def note(self, edit: ForeignEdit) -> None:
        """What a file is without us, as somebody edited it."""
        kept = self.history.files[edit.path]
        if edit.is_lost:
            self._set_kept(edit.path, dataclasses.replace(kept, is_lost=True))
            return
        now = self._keep(edit.path)
        was = None
        if edit.original is not None:
            like = now or kept.last_written or kept.original
            if like is None:
                raise ValueError(f"{edit.path} was never there")
            was = FileState(self.keep(edit.original), like.attributes)
        self._set_kept(
            edit.path,
            FileBackup(original=was, last_written=now, embedded=edit.embedded),
        )
        self._write()

    def begin(self, record: ChangeRecord, coming: Mapping[str, str]) -> None:
        """Put down what is about to change, and keep what is there.

        :param coming: by path, as ``FileBackup`` has it.
        """
        folders = list(self.history.folders)
        for path in record.paths:
            folders += self._files.missing(path)
            kept = self.history.files.get(path)
            if kept is None:
                entry = self._keep(path)
                kept = FileBackup(original=entry, last_written=entry)
            self._set_kept(
                path, dataclasses.replace(kept, pending=coming[path])
            )
        self.history = dataclasses.replace(
            self.history, folders=tuple(dict.fromkeys(folders))
        )
        self._enter(record)

    def keep_beside(self, record: ChangeRecord, beside: str) -> None:
        """The same for an image, which is kept at ``beside`` itself.

        One that was built anew by others is kept no longer.
        """
        path = record.paths[0]
        now = self._files.entry(path)
        kept = self.history.files.get(path) or FileBackup(
            now, now, backup_path=beside
        )
        if now and now.digest not in kept.known_digests:
            kept = dataclasses.replace(kept, is_lost=True)
        self._set_kept(path, kept)
        self.begin(record, {p: "" for p in record.paths})
        if not kept.backup_path or now is None or kept.original is None:
            return
        if kept.is_lost:
            self._files.remove(kept.backup_path)
        elif now.digest == kept.original.digest:
            self._files.keep(path, kept.backup_path)

    def expect(self, coming: Mapping[str, str]) -> None:
        """Put down what files are about to become."""
        for path, digest in coming.items():
            kept = self.history.files[path]
            self._set_kept(path, dataclasses.replace(kept, pending=digest))
        self._write()

    def finish(self, record: ChangeRecord) -> None:
        """It is done; what it left is known."""
        for path in record.paths:
            kept = self.history.files[path]
            left = (
                self._files.entry(path)
                if kept.backup_path
                else self._keep(path)
            )
            self._set_kept(
                path, dataclasses.replace(kept, last_written=left, pending="")
            )
        self._enter(dataclasses.replace(record, is_done=True))

    def keep(self, contents: bytes) -> str:
        """The digest of contents that are kept from now on."""
        digest = hashlib.sha256(contents).hexdigest()
        self._changes.keep(digest, contents)
        return digest

    def _keep(self, path: str) -> FileState | None:
        entry = self._files.entry(path)
        if entry:
            where = self._files.disk(self._files.real(path))
            self._changes.keep_file(entry.digest, where)
        return entry

    def _enter(self, record: ChangeRecord) -> None:
        """In the place of an earlier one of the same target."""
        records = list(self.history.records)
        old = self.history.record(record.kind, record.target)
        if old is None:
            records.append(record)
        else:
            paths = dict.fromkeys((*record.paths, *old.paths))
            records[records.index(old)] = dataclasses.replace(
                record, paths=tuple(paths)
            )
        self.history = dataclasses.replace(
            self.history, records=tuple(records)
        )
        self._write()

    def _set_kept(self, path: str, backup: FileBackup) -> None:
        files = {**self.history.files, path: backup}
        self.history = dataclasses.replace(self.history, files=files)

    def _write(self) -> None:
        self._changes.write(self.history)
