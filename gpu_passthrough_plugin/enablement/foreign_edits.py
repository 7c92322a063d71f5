"""What others did since to the files that were changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin.enablement import diff3
from gpu_passthrough_plugin.model.change import Change, Write
from gpu_passthrough_plugin.model.record import (
    ANY,
    GONE,
    Entry,
    History,
    Kept,
    Kind,
    Seen,
)
from gpu_passthrough_plugin.model.undo import Edit


def is_foreign(kept: Kept, now: Entry | None) -> bool:
    """Whether somebody else wrote or removed the file since.

    While a command may write it, nobody can tell: then it is not.
    """
    if kept.coming == ANY:
        return False
    if now is None:
        left = kept.left is None or kept.coming == GONE
        return not (left or kept.was is None)
    return now.digest not in kept.digests


def edit(path: str, kept: Kept, seen: Seen) -> Edit | None:
    """The edit of one file that is foreign.

    None where the two changes meet, or cannot be held against each other.
    """
    if seen.entry is None:
        return Edit(path, None)
    if seen.contents is None or seen.was is None or seen.left is None:
        return None
    if kept.left is None:
        return Edit(path, seen.contents)
    found = diff3.merged(seen.left, seen.was, seen.contents)
    if found is None:
        return None
    is_empty = kept.was is None and not found.strip()
    return Edit(path, None if is_empty else found, kept.mixed)


def edits(history: History, seen: Mapping[str, Seen]) -> tuple[Edit, ...]:
    """What to note of each file that others changed, before changing more.

    From then on the edited file is the original that an undoing puts
    back; but for files that tools write anew from others.
    """
    generated = {
        path
        for record in history.records
        if record.kind is Kind.BUILD or record.undo
        for path in record.paths
    }
    found = []
    for path, kept in history.files.items():
        if not is_foreign(kept, seen[path].entry):
            continue
        if path in generated:
            found.append(Edit(path, None, is_lost=True))
        else:
            found.append(
                edit(path, kept, seen[path]) or _mixed(path, kept, seen[path])
            )
    return tuple(found)


def resumed(
    changes: Iterable[Change], history: History | None
) -> tuple[Change, ...]:
    """The changes, with what was begun and not finished done again.

    A command that was killed may have done half of it, which what it
    wrote need not show.
    """
    unfinished = history.unfinished if history else frozenset()
    return tuple(
        change
        if isinstance(change, Write) or change.target not in unfinished
        else dataclasses.replace(change, is_needed=True)
        for change in changes
    )


def _mixed(path: str, kept: Kept, seen: Seen) -> Edit:
    words = diff3.added(
        seen.was or b"", seen.left or b"", seen.contents or b""
    )
    return Edit(
        path, seen.contents, tuple(dict.fromkeys((*kept.mixed, *words)))
    )
