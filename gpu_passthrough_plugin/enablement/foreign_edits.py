"""What others did since to the files that enabling changed."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.enablement import diff3
from gpu_passthrough_plugin.model.change_history import (
    ANY,
    GONE,
    Edit,
    Entry,
    History,
    Kept,
    Kind,
    Seen,
)


def is_foreign(kept: Kept, now: Entry | None) -> bool:
    """Return whether another program wrote or removed the file since.

    While a command that may write it is under way, that is not known: then
    it does not count as foreign.
    """
    if kept.coming == ANY:
        return False
    if now is None:
        is_ours = kept.left is None or kept.coming == GONE
        return not (is_ours or kept.was is None)
    return now.digest not in kept.digests


def merged(path: str, kept: Kept, seen: Seen) -> Edit | None:
    """Return the edit of one file, without this product's change.

    None where both changed the same words, or the contents are not known.
    """
    if seen.entry is None:
        return Edit(path, None)
    if seen.contents is None or seen.was is None or seen.left is None:
        return None
    if kept.left is None:
        return Edit(path, seen.contents)
    merge = diff3.merged(seen.left, seen.was, seen.contents)
    if merge is None:
        return None
    is_empty = kept.was is None and not merge.strip()
    return Edit(path, None if is_empty else merge, kept.mixed)


def edits(history: History, seen: Mapping[str, Seen]) -> tuple[Edit, ...]:
    """Return the edit of each file that others changed.

    It is to be recorded before the files are changed again: from then on
    the edited file is the original that ``host disable`` restores.  Of a file
    that a tool generates from others, the original is lost instead.

    :param seen: every file of the history as it is now.
    """
    generated = {
        path
        for record in history.records
        if record.kind is Kind.BUILD or record.undo
        for path in record.paths
    }
    foreign = (
        (path, kept)
        for path, kept in history.files.items()
        if is_foreign(kept, seen[path].entry)
    )
    return tuple(
        Edit(path, None, is_lost=True)
        if path in generated
        else merged(path, kept, seen[path]) or _mixed(path, kept, seen[path])
        for path, kept in foreign
    )


def own_words(seen: Seen) -> tuple[str, ...]:
    """Return the words of this product that an edited file still has."""
    return diff3.added(seen.was or b"", seen.left or b"", seen.contents or b"")


def _mixed(path: str, kept: Kept, seen: Seen) -> Edit:
    words = dict.fromkeys((*kept.mixed, *own_words(seen)))
    return Edit(path, seen.contents, tuple(words))
