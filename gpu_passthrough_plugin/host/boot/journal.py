"""What was changed on this host, and what the changed files were."""

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
from gpu_passthrough_plugin.model.change_history import (
    ChangeRecord,
    Enablement,
    FileBackup,
    FileState,
    ForeignEdit,
    History,
)


class JournalStore:
    """One host's history of changes, and copies of files, in a folder.

    Everything is written whole, synced, then renamed, before the act that
    it tells of.  What a file held is kept under the digest of it.

    :param folder: in ``[DEFAULT] state_path``, and nobody else's.
    :param require_lock: called before anything is noted, and so done;
        raises when the host's lock was lost.
    """

    def __init__(
        self, folder: str, require_lock: Callable[[], None] = lambda: None
    ) -> None:
        self._require_lock = require_lock
        self._folder = folder
        self._path = os.path.join(folder, "changes.json")
        self._copies = os.path.join(folder, "kept")
        self._aside = os.path.join(folder, "set-aside")

    def read(self) -> History | None:
        """What was done; None where nothing is left to be undone."""
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
                f"{self._path} is no journal of this release ({error!r});"
                " what the host's files were is in the folder 'kept' beside"
                " it: put them back by hand, then move the file away"
            ) from error

    def write(self, history: History) -> None:
        """Put it down."""
        self._require_lock()
        text = json.dumps(journal_format.written(history), indent=1)
        self._put(self._path, text.encode())

    def keep(self, digest: str, contents: bytes) -> None:
        """Keep what a file holds."""
        if not self.is_kept(digest):
            self._put(self._copy(digest), contents)

    def keep_file(self, digest: str, source: str) -> None:
        """The same of a file that may be large.

        :param source: where it is for this process.
        """
        if self.is_kept(digest):
            return
        beside = f"{self._copy(digest)}.new"
        with self._told(source), self._made(self._copies):
            with open(source, "rb") as kept, _created(beside) as file:
                shutil.copyfileobj(kept, file)
                file.flush()
                os.fsync(file.fileno())
            with open(beside, "rb") as copy:
                found = hashlib.file_digest(copy, "sha256").hexdigest()
            if found == digest:
                os.replace(beside, self._copy(digest))
                return
        raise errors.Conflict(
            f"{source} changed while it was read; try again when nobody"
            " writes it"
        )

    def kept(self, digest: str) -> bytes | None:
        """What was kept; None when it is not there."""
        try:
            with open(self._copy(digest), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.Unavailable(
                f"cannot read {self._copy(digest)}: {error.strerror}"
            ) from error

    def is_kept(self, digest: str) -> bool:
        """Whether it is there."""
        return os.path.exists(self._copy(digest))

    def copy(self, digest: str) -> str:
        """Where it is kept, for this process."""
        return self._copy(digest)

    def set_aside(self, name: str, digest: str, contents: bytes) -> str:
        """Keep what may be somebody's for good; the path of it."""
        path = os.path.join(self._aside, f"{name}-{digest[:12]}")
        self._put(path, contents)
        return path

    def remove(self) -> None:
        """Forget everything, the history first."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
                _sync(self._folder)
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
        with self._told(path), self._made(os.path.dirname(path)):
            with _created(f"{path}.new") as file:
                file.write(contents)
                file.flush()
                os.fsync(file.fileno())
            os.replace(f"{path}.new", path)

    def _copy(self, digest: str) -> str:
        return os.path.join(self._copies, digest)

    @contextlib.contextmanager
    def _made(self, folder: str) -> Iterator[None]:
        """The folder, and synced afterwards."""
        is_new = not os.path.isdir(folder)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        if is_new:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            _sync(os.path.dirname(folder))
        yield
        _sync(folder)

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise errors.Unavailable(
                f"cannot note {path} in {self._folder}: {error.strerror};"
                " nothing is done without it"
            ) from error


def _created(path: str) -> BinaryIO:
    # What it copies may be a secret of the host's.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    return open(os.open(path, flags, 0o600), "wb")


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


MAX_TEXT_BYTES = 1 << 20
"""What is longer is no text that somebody edits."""


class BootJournal:
    """One host's history, in memory and on disk.

    :param history: as it was read.
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
        """Begin a plan; what others edited becomes the original."""
        self.history = dataclasses.replace(
            self.history, enablement=enablement, is_finished=False
        )
        for edit in edits:
            self.record_edit(edit)
        self._write()

    def close(self) -> None:
        """All of the plan is done."""
        self.history = dataclasses.replace(self.history, is_finished=True)
        self._write()

    def record_edit(self, edit: ForeignEdit) -> None:
        """What a file is without us, as somebody edited it."""
        kept = self.history.files[edit.path]
        if edit.is_lost:
            self._set_backup(
                edit.path, dataclasses.replace(kept, is_lost=True)
            )
            return
        now = self._back_up(edit.path)
        was = None
        if edit.original is not None:
            like = now or kept.last_written or kept.original
            if like is None:
                raise ValueError(f"{edit.path} was never there")
            was = FileState(self.back_up(edit.original), like.attributes)
        self._set_backup(
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
                entry = self._back_up(path)
                kept = FileBackup(original=entry, last_written=entry)
            self._set_backup(
                path, dataclasses.replace(kept, pending=coming[path])
            )
        self.history = dataclasses.replace(
            self.history, folders=tuple(dict.fromkeys(folders))
        )
        self._enter(record)

    def begin_image(self, record: ChangeRecord, beside: str) -> None:
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
        self._set_backup(path, kept)
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
            self._set_backup(path, dataclasses.replace(kept, pending=digest))
        self._write()

    def finish(self, record: ChangeRecord) -> None:
        """It is done; what it left is known."""
        for path in record.paths:
            kept = self.history.files[path]
            left = (
                self._files.entry(path)
                if kept.backup_path
                else self._back_up(path)
            )
            self._set_backup(
                path, dataclasses.replace(kept, last_written=left, pending="")
            )
        self._enter(dataclasses.replace(record, is_done=True))

    def back_up(self, contents: bytes) -> str:
        """The digest of contents that are kept from now on."""
        digest = hashlib.sha256(contents).hexdigest()
        self._store.keep(digest, contents)
        return digest

    def _back_up(self, path: str) -> FileState | None:
        entry = self._files.entry(path)
        if entry:
            where = self._files.disk(self._files.real(path))
            self._store.keep_file(entry.digest, where)
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

    def _set_backup(self, path: str, backup: FileBackup) -> None:
        files = {**self.history.files, path: backup}
        self.history = dataclasses.replace(self.history, files=files)

    def _write(self) -> None:
        self._store.write(self.history)
