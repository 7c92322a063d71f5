"""What undoes every change that was made to a host."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.enablement.foreign_edits import (
    is_foreign,
    merged,
    own_words,
)
from gpu_passthrough_plugin.model.change import (
    BESIDE,
    Leave,
    Merge,
    Rebuild,
    Rerun,
    Restore,
    Undo,
)
from gpu_passthrough_plugin.model.change_history import (
    ANY,
    Attributes,
    Entry,
    History,
    Kept,
    Kind,
    Record,
    Seen,
)


def undo(
    history: History,
    seen: Mapping[str, Seen],
    kernels: Mapping[str, str | None],
) -> tuple[Undo, ...]:
    """Return every step, newest change first; a file in order has none.

    All files come first, then images that have to be rebuilt, then commands
    that undo another command.

    :param seen: every file of the history as it is now.
    :param kernels: image of each installed kernel, by release.
    """
    files: list[Undo] = []
    images: list[Undo] = []
    commands: list[Undo] = []
    done: set[str] = set()
    for record in reversed(history.records):
        is_rerun = _is_rerun(record, history, seen)
        for path in record.paths:
            if path in done:
                continue
            done.add(path)
            kept, now = history.files[path], seen[path]
            is_image = record.kind is Kind.BUILD
            if is_image and path == record.paths[0]:
                step = _image(record, kept, now, kernels)
            elif (is_rerun or is_image) and _is_lost(kept, now):
                continue
            else:
                step = _file(record.step, path, kept, now)
            if step:
                (images if isinstance(step, Rebuild) else files).append(step)
        if is_rerun:
            commands.append(_rerun(record))
    return (*files, *images, *_new_images(history, kernels), *commands)


def _rerun(record: Record) -> Rerun:
    has_output = any(BESIDE in word for word in record.undo)
    output = record.paths[0] if has_output else ""
    return Rerun(record.step, record.undo, output=output)


def _is_rerun(
    record: Record, history: History, seen: Mapping[str, Seen]
) -> bool:
    """Return whether restoring its files does not undo the command."""
    return bool(record.undo) and (
        not record.paths
        or any(_is_lost(history.files[p], seen[p]) for p in record.paths)
    )


def _is_lost(kept: Kept, seen: Seen) -> bool:
    return kept.is_lost or is_foreign(kept, seen.entry)


def _file(step: str, path: str, kept: Kept, seen: Seen) -> Undo | None:
    if is_foreign(kept, seen.entry):
        return _edited(step, path, kept, seen)
    now = seen.entry
    was = _original(kept, now)
    if was == now:
        return None
    if was and not seen.is_kept and (not now or was.digest != now.digest):
        return Leave(
            step,
            path,
            f"the saved original of {path} is missing from [DEFAULT]"
            f" state_path; restore {path} manually",
        )
    return Restore(
        step,
        path,
        was,
        now,
        sets_aside=bool(
            kept.coming == ANY and now and now.digest not in kept.digests
        ),
        note=_mixed_note(path, kept.mixed),
    )


def _original(kept: Kept, now: Entry | None) -> Entry | None:
    """Return the original, with the attributes that others changed since."""
    was = kept.was
    if was is None or now is None:
        return was
    is_settled = kept.left is not None and kept.coming != ANY
    left = kept.left.attributes if kept.left and is_settled else now.attributes
    attributes = Attributes._make(
        original if current == written else current
        for original, written, current in zip(
            was.attributes, left, now.attributes, strict=True
        )
    )
    if now.digest != was.digest:
        attributes = attributes._replace(mtime_ns=was.attributes.mtime_ns)
    return Entry(was.digest, attributes)


def _edited(step: str, path: str, kept: Kept, seen: Seen) -> Undo | None:
    if seen.entry is None:
        return Leave(step, path, f"{path} was removed since; not restored")
    if kept.left is None:
        return Leave(
            step, path, f"{path} was regenerated since; left unchanged"
        )
    edit = merged(path, kept, seen)
    if edit is None:
        return Leave(step, path, _conflict_note(path, seen))
    if edit.original == seen.contents:
        return None
    if edit.original is None:
        return Restore(step, path, None, seen.entry)
    return Merge(
        step,
        edit,
        f"{path} was edited since; the edit is kept, and what 'host enable'"
        " added is removed",
    )


def _conflict_note(path: str, seen: Seen) -> str:
    words = own_words(seen)
    note = f"{path} was edited since in the same place; left unchanged"
    if seen.contents is None or seen.was is None or seen.left is None:
        return f"{note}: what it was is not known; check it"
    if not words:
        return f"{note}; nothing that 'host enable' added is in it"
    return (
        f"{note}; 'host enable' added {' '.join(words)}: remove that manually"
    )


def _mixed_note(path: str, words: tuple[str, ...]) -> str:
    if not words:
        return ""
    return (
        f"{path} was edited in the same place; 'host enable' added"
        f" {' '.join(words)}: remove that manually"
    )


def _image(
    record: Record,
    kept: Kept,
    seen: Seen,
    kernels: Mapping[str, str | None],
) -> Undo | None:
    """Return what restores the kept image where it was not rebuilt since."""
    path, now, was = record.paths[0], seen.entry, kept.was
    is_ours = not _is_lost(kept, seen)
    if now is None and record.kernel not in kernels:
        return Leave(
            record.step,
            path,
            f"kernel {record.kernel} was removed since; its image is not"
            " restored",
        )
    if now is None and was is None:
        return None
    if is_ours and now and was and now.digest == was.digest:
        return None
    if (is_ours or now is None) and not kept.is_lost and seen.is_kept:
        return Restore(record.step, path, was, now)
    return Rebuild(record.step, record.target, record.kernel)


def _new_images(
    history: History, kernels: Mapping[str, str | None]
) -> list[Rebuild]:
    """Return rebuilds for kernels installed since, whose images hold ours."""
    builds = [r for r in history.records if r.kind is Kind.BUILD]
    built_for = {record.kernel for record in builds}
    if not builds:
        return []
    return [
        Rebuild(builds[0].step, image, release)
        for release, image in kernels.items()
        if image and release not in built_for
    ]
