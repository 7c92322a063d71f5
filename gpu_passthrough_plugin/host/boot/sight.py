"""How the files of a history are now."""

from __future__ import annotations

from gpu_passthrough_plugin.host.boot.book import MAX_TEXT_BYTES
from gpu_passthrough_plugin.host.boot.journal import Changes
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change_history import (
    ANY,
    Entry,
    History,
    Kept,
    Kind,
    Seen,
)


def seen(files: Files, changes: Changes, history: History) -> dict[str, Seen]:
    """Every file of the history, by path."""
    return {
        path: _seen(files, changes, path, kept)
        for path, kept in history.files.items()
    }


def built(files: Files, history: History | None) -> dict[str, str]:
    """Images that are as we built them, and the digest of our inputs."""
    found = {}
    for record in history.records if history else ():
        if record.kind is not Kind.BUILD or not record.is_done or not history:
            continue
        left = history.files[record.paths[0]].left
        now = files.entry(record.paths[0])
        if left and now and left.digest == now.digest:
            found[record.target] = record.inputs
    return found


def _seen(files: Files, changes: Changes, path: str, kept: Kept) -> Seen:
    now = files.entry(path)
    found = Seen(now, is_kept=_is_kept(files, changes, kept))
    is_known = now is None or now.digest in kept.digests
    if is_known or kept.coming == ANY or kept.beside:
        return found
    is_text = (files.size(path) or 0) <= MAX_TEXT_BYTES
    return found._replace(
        contents=files.read(path) if is_text else None,
        was=_kept(changes, kept.was),
        left=_kept(changes, kept.left),
    )


def _is_kept(files: Files, changes: Changes, kept: Kept) -> bool:
    if kept.was is None:
        return True
    if not kept.beside:
        return changes.is_kept(kept.was.digest)
    beside = files.entry(kept.beside)
    return beside is not None and beside.digest == kept.was.digest


def _kept(changes: Changes, entry: Entry | None) -> bytes | None:
    return changes.kept(entry.digest) if entry else b""
