"""How the files of a history are now."""

from __future__ import annotations

from gpu_passthrough_plugin.host.boot.book import MAX_TEXT_BYTES
from gpu_passthrough_plugin.host.boot.journal import Changes
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change_history import (
    ANY,
    ChangeKind,
    CurrentFile,
    FileBackup,
    FileState,
    History,
)


def seen(
    files: Files, changes: Changes, history: History
) -> dict[str, CurrentFile]:
    """Every file of the history, by path."""
    return {
        path: _seen(files, changes, path, kept)
        for path, kept in history.files.items()
    }


def built(files: Files, history: History | None) -> dict[str, str]:
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
    files: Files, changes: Changes, path: str, backup: FileBackup
) -> CurrentFile:
    now = files.entry(path)
    found = CurrentFile(now, has_backup=_is_kept(files, changes, backup))
    is_known = now is None or now.digest in backup.known_digests
    if is_known or backup.pending == ANY or backup.backup_path:
        return found
    is_text = (files.size(path) or 0) <= MAX_TEXT_BYTES
    return found._replace(
        contents=files.read(path) if is_text else None,
        original=_kept(changes, backup.original),
        last_written=_kept(changes, backup.last_written),
    )


def _is_kept(files: Files, changes: Changes, backup: FileBackup) -> bool:
    if backup.original is None:
        return True
    if not backup.backup_path:
        return changes.is_kept(backup.original.digest)
    beside = files.entry(backup.backup_path)
    return beside is not None and beside.digest == backup.original.digest


def _kept(changes: Changes, entry: FileState | None) -> bytes | None:
    return changes.kept(entry.digest) if entry else b""
