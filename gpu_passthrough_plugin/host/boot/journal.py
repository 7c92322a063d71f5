"""The journal of changes to a host's boot, and backups of what was changed.

A JSON document, and copies of files' contents by their SHA-256 digests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.boot import journal_format
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.host.host_path import sync_folder
from gpu_passthrough_plugin.host.local_lock import LocalLock
from gpu_passthrough_plugin.host.ownership import make_private
from gpu_passthrough_plugin.model.change_history import (
    ChangeRecord,
    Enablement,
    FileBackup,
    FileState,
    ForeignEdit,
    History,
)


class JournalStore:
    """The journal on disk: the history of changes and copies of files.

    Each file is written whole, synced, then renamed: before the change that
    it describes begins, and again when it is finished.

    :param folder: its absolute path, below ``[DEFAULT] state_path``; nothing
        else may be in it.
    :param require_lock: called before the history is written, and so before
        each change; raises when the host's lock was lost.
    :param timeout_s: seconds to wait for another process that changes this
        host's boot.
    :param on_wait: called once with a description of that process, when
        there is one.
    """

    def __init__(
        self,
        folder: str,
        require_lock: Callable[[], None] = lambda: None,
        *,
        timeout_s: float = 60,
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._require_lock = require_lock
        self.lock = LocalLock(
            f"{folder}.lock",
            "this host's boot files",
            timeout_s=timeout_s,
            on_wait=on_wait,
        )
        """Held while the history is read and a plan is made and carried out.

        A local lock is enough: other hosts never write these files.
        """
        self._folder = folder
        self._path = os.path.join(folder, "changes.json")
        self._copies = os.path.join(folder, "kept")
        self._aside = os.path.join(folder, "set-aside")

    def read(self) -> History | None:
        """Return the history; None if there is no journal.

        :raises Invalid: when another release or program wrote the file.
        :raises Unavailable: when it cannot be read.
        """
        try:
            with open(self._path, encoding="utf-8") as file:
                return journal_format.read(json.load(file))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.Unavailable(
                f"cannot read the journal {self._path}: {error.strerror}"
            ) from error
        except journal_format.MALFORMED as error:
            raise errors.Invalid(
                f"{self._path} is not a journal of this release ({error!r});"
                f" {self._copies} has the originals of the host's files,"
                " named by their SHA-256 digests, and the journal says which"
                " is whose: restore them manually, then move the journal away"
            ) from error

    def write(self, history: History) -> None:
        """Replace the history on disk."""
        self._require_lock()
        text = json.dumps(journal_format.written(history), indent=1)
        self._put(self._path, text.encode())

    def keep(self, digest: str, contents: bytes) -> None:
        """Keep a copy of a file's contents."""
        if not self.is_kept(digest):
            self._put(self._copy(digest), contents)

    def keep_file(self, digest: str, source: str) -> None:
        """Keep a copy of a file that may be large.

        :param source: the file's path, below the host's root.
        :raises Conflict: when the file changes meanwhile.
        """
        if self.is_kept(digest):
            return
        temporary = f"{self._copy(digest)}.new"
        with self._translated(source), self._made(self._copies):
            with open(source, "rb") as original, _created(temporary) as file:
                shutil.copyfileobj(original, file)
                file.flush()
                os.fsync(file.fileno())
            with open(temporary, "rb") as copy:
                copied = hashlib.file_digest(copy, "sha256").hexdigest()
            if copied == digest:
                os.replace(temporary, self._copy(digest))
                return
        raise errors.Conflict(
            f"{source} changed while it was read; try again when no program"
            " writes to it"
        )

    def kept(self, digest: str) -> bytes | None:
        """Return the contents of a copy; None if it is missing or damaged."""
        contents = self._read_copy(digest)
        if contents is None or _sha256(contents) != digest:
            return None
        return contents

    def damaged(self, digest: str) -> bytes | None:
        """Return the contents of a damaged copy; None for any other."""
        contents = self._read_copy(digest)
        if contents is None or _sha256(contents) == digest:
            return None
        return contents

    def is_kept(self, digest: str) -> bool:
        """Return whether there is a copy that has this digest."""
        return self.kept(digest) is not None

    def _read_copy(self, digest: str) -> bytes | None:
        try:
            with open(self._copy(digest), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise errors.Unavailable(
                f"cannot read {self._copy(digest)}: {error.strerror}"
            ) from error

    def copy(self, digest: str) -> str:
        """Return the path of a copy, whether it is there or not."""
        return self._copy(digest)

    def set_aside(self, name: str, digest: str, contents: bytes) -> str:
        """Save contents that ``remove`` does not delete; return the path.

        :param name: begins the file's name; the digest ends it.
        """
        path = os.path.join(self._aside, f"{name}-{digest[:12]}")
        self._put(path, contents)
        return path

    def remove(self) -> None:
        """Delete the journal and its copies, the history first."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
                sync_folder(self._folder)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._path}.new")
            if os.path.isdir(self._copies):
                shutil.rmtree(self._copies)
        except OSError as error:
            raise errors.Unavailable(
                f"cannot remove the journal {self._path}: {error.strerror}"
            ) from error
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)

    def _put(self, path: str, contents: bytes) -> None:
        with self._translated(path), self._made(os.path.dirname(path)):
            with _created(f"{path}.new") as file:
                file.write(contents)
                file.flush()
                os.fsync(file.fileno())
            os.replace(f"{path}.new", path)

    def _copy(self, digest: str) -> str:
        return os.path.join(self._copies, digest)

    @contextlib.contextmanager
    def _made(self, folder: str) -> Iterator[None]:
        """Create the folder if it is missing; sync it at the end."""
        is_new = not os.path.isdir(folder)
        make_private(self._folder)
        if is_new:
            make_private(folder)
            sync_folder(os.path.dirname(folder))
        yield
        sync_folder(folder)

    @contextlib.contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise errors.Unavailable(
                f"cannot save {path} in {self._folder}: {error.strerror};"
                " stopped before the next change"
            ) from error


def _sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def _created(path: str) -> BinaryIO:
    # The copied file may be secret.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    return open(os.open(path, flags, 0o600), "wb")


MAX_TEXT_BYTES = 1 << 20
"""A longer file is assumed not to be edited by hand."""


class BootJournal:
    """The history of changes, written to disk before each change is made.

    :param history: as ``JournalStore.read`` returned it, or a new one.
    """

    def __init__(
        self, files: Files, store: JournalStore, history: History
    ) -> None:
        self._files = files
        self._store = store
        self.history = history

    def open(
        self, enablement: Enablement, edits: Iterable[ForeignEdit]
    ) -> None:
        """Record that a plan begins.

        :param edits: files that others edited, which become their originals.
        """
        self.history = dataclasses.replace(
            self.history, enablement=enablement, is_finished=False
        )
        for edit in edits:
            self.record_edit(edit)
        self._write()

    def close(self) -> None:
        """Mark the plan as complete."""
        self.history = dataclasses.replace(self.history, is_finished=True)
        self._write()

    def record_edit(self, edit: ForeignEdit) -> None:
        """Record a third-party edit: the edited file becomes the original."""
        backup = self.history.files[edit.path]
        if edit.is_lost:
            self._set_backup(
                edit.path, dataclasses.replace(backup, is_lost=True)
            )
            return
        now = self._back_up(edit.path)
        original = None
        if edit.original is not None:
            like = now or backup.last_written or backup.original
            if like is None:
                raise ValueError(f"{edit.path} was never there")
            original = FileState(self.back_up(edit.original), like.attributes)
        self._set_backup(
            edit.path,
            FileBackup(
                original=original, last_written=now, embedded=edit.embedded
            ),
        )
        self._write()

    def begin(self, record: ChangeRecord, pending: Mapping[str, str]) -> None:
        """Record a change that is about to be made, and back its files up.

        :param pending: the value of ``FileBackup.pending`` for each path.
        """
        folders = list(self.history.folders)
        for path in record.paths:
            folders += self._files.missing(path)
            backup = self.history.files.get(path)
            if backup is None:
                entry = self._back_up(path)
                backup = FileBackup(original=entry, last_written=entry)
            self._set_backup(
                path, dataclasses.replace(backup, pending=pending[path])
            )
        self.history = dataclasses.replace(
            self.history, folders=tuple(dict.fromkeys(folders))
        )
        self._enter(record)

    def begin_image(self, record: ChangeRecord, backup_path: str) -> None:
        """Record that an image is about to be built, and back it up.

        Where another program has rebuilt the image since, the backup is of
        an older one and is deleted.

        :param record: its first path is the image's.
        :param backup_path: of the backup, on the image's own file system.
        """
        path = record.paths[0]
        now = self._files.entry(path)
        backup = self.history.files.get(path) or FileBackup(
            now, now, backup_path=backup_path
        )
        if now and now.digest not in backup.known_digests:
            backup = dataclasses.replace(backup, is_lost=True)
        self._set_backup(path, backup)
        self.begin(record, {p: "" for p in record.paths})
        if not backup.backup_path or now is None or backup.original is None:
            return
        if backup.is_lost:
            self._files.remove(backup.backup_path)
        elif now.digest == backup.original.digest:
            self._files.keep(path, backup.backup_path)

    def expect(self, pending: Mapping[str, str]) -> None:
        """Record the digests that files are about to get, by path."""
        for path, digest in pending.items():
            backup = self.history.files[path]
            self._set_backup(path, dataclasses.replace(backup, pending=digest))
        self._write()

    def finish(self, record: ChangeRecord) -> None:
        """Mark the change complete and store the resulting file states."""
        for path in record.paths:
            backup = self.history.files[path]
            written = (
                self._files.entry(path)
                if backup.backup_path
                else self._back_up(path)
            )
            self._set_backup(
                path,
                dataclasses.replace(backup, last_written=written, pending=""),
            )
        self._enter(dataclasses.replace(record, is_done=True))

    def back_up(self, contents: bytes) -> str:
        """Keep a copy of contents; return their digest."""
        digest = _sha256(contents)
        self._store.keep(digest, contents)
        return digest

    def _back_up(self, path: str) -> FileState | None:
        entry = self._files.entry(path)
        if entry:
            where = self._files.disk(self._files.real(path))
            self._store.keep_file(entry.digest, where)
        return entry

    def _enter(self, record: ChangeRecord) -> None:
        """Add a record; it replaces an earlier one of the same target."""
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

    def _set_backup(self, path: str, backup: FileBackup) -> None:
        files = {**self.history.files, path: backup}
        self.history = dataclasses.replace(self.history, files=files)

    def _write(self) -> None:
        self._store.write(self.history)
