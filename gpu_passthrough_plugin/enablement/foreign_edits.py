"""What others did since to the files that enabling changed."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.enablement import diff3, own_files
from gpu_passthrough_plugin.model.change_history import (
    ANY,
    GONE,
    ChangeKind,
    CurrentFile,
    FileBackup,
    FileState,
    ForeignEdit,
    History,
)


def is_foreign(backup: FileBackup, now: FileState | None) -> bool:
    """Return whether another program wrote or removed the file since.

    While a command that may write it is under way, that is not known: then
    it does not count as foreign.
    """
    if backup.pending == ANY:
        return False
    if now is None:
        is_ours = backup.last_written is None or backup.pending == GONE
        return not (is_ours or backup.original is None)
    return now.digest not in backup.known_digests


def merged(
    path: str, backup: FileBackup, current: CurrentFile
) -> ForeignEdit | None:
    """Return the edit of one file, without this product's change.

    None where both changed the same words, or the contents are not known.
    """
    if current.state is None:
        return ForeignEdit(path, None)
    if (
        current.contents is None
        or current.original is None
        or current.last_written is None
    ):
        return None
    if backup.last_written is None:
        return ForeignEdit(path, current.contents)
    merge = diff3.merged(
        current.last_written, current.original, current.contents
    )
    if merge is None:
        return None
    is_empty = backup.original is None and not merge.strip()
    return ForeignEdit(path, None if is_empty else merge, backup.embedded)


def edits(
    history: History, current_files: Mapping[str, CurrentFile]
) -> tuple[ForeignEdit, ...]:
    """Return the edit of each file that others changed.

    It is to be recorded before the files are changed again: from then on
    the edited file is the original that ``host disable`` restores.  Of a file
    that a tool generates from others, the original is lost instead.  The
    selection is an operator's as a whole.

    :param current_files: every file of the history as it is now.
    """
    generated = {
        path
        for record in history.records
        if record.kind is ChangeKind.BUILD or record.undo_argv
        for path in record.paths
    }
    selections = {
        path
        for record in history.records
        if record.step == own_files.SELECTION_STEP
        for path in record.paths
    }
    foreign = (
        (path, backup)
        for path, backup in history.files.items()
        if is_foreign(backup, current_files[path].state)
    )
    return tuple(
        ForeignEdit(path, None, is_lost=True)
        if path in generated
        else ForeignEdit(path, current_files[path].contents)
        if path in selections and current_files[path].state is not None
        else merged(path, backup, current_files[path])
        or _unmerged(path, backup, current_files[path])
        for path, backup in foreign
    )


def own_words(current: CurrentFile) -> tuple[str, ...]:
    """Return the words of this product that an edited file still has."""
    return diff3.added(
        current.original or b"",
        current.last_written or b"",
        current.contents or b"",
    )


def _unmerged(
    path: str, backup: FileBackup, current: CurrentFile
) -> ForeignEdit:
    words = dict.fromkeys((*backup.embedded, *own_words(current)))
    return ForeignEdit(path, current.contents, tuple(words))
