"""What takes everything back that was done to a host."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.enablement import diff3
from gpu_passthrough_plugin.enablement.foreign_edits import edit, is_foreign
from gpu_passthrough_plugin.model.change import BESIDE
from gpu_passthrough_plugin.model.record import (
    ANY,
    Attributes,
    Entry,
    History,
    Kept,
    Kind,
    Record,
    Seen,
)
from gpu_passthrough_plugin.model.undo import (
    Leave,
    Merge,
    Rebuild,
    Rerun,
    Restore,
    Undo,
)


def undo(
    history: History,
    seen: Mapping[str, Seen],
    kernels: Mapping[str, str | None],
) -> tuple[Undo, ...]:
    """Every step, newest change first; what needs no undoing has none.

    First all files, then images that have to be built without ours, then
    commands that take back what another command did.

    :param seen: every file of the history as it is now.
    :param kernels: image of each installed kernel, by release.
    """
    steps: list[Undo] = []
    images: list[Undo] = []
    commands: list[Undo] = []
    done: set[str] = set()
    for record in reversed(history.records):
        is_again = _is_again(record, history, seen)
        for path in record.paths:
            if path in done:
                continue
            done.add(path)
            kept, now = history.files[path], seen[path]
            is_image = record.kind is Kind.BUILD
            if is_image and path == record.paths[0]:
                step = _image(record, kept, now, kernels)
            elif (is_again or is_image) and _is_lost(kept, now):
                continue
            else:
                step = _file(record.step, path, kept, now)
            if step:
                (images if isinstance(step, Rebuild) else steps).append(step)
        if is_again:
            commands.append(_rerun(record))
    return (*steps, *images, *_new(history, kernels), *commands)


def _rerun(record: Record) -> Rerun:
    is_beside = any(BESIDE in word for word in record.undo)
    output = record.paths[0] if is_beside else ""
    return Rerun(record.step, record.undo, output=output)


def _is_again(
    record: Record, history: History, seen: Mapping[str, Seen]
) -> bool:
    """Whether putting its files back does not take the command back."""
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
            f"what {path} was is no longer kept: its copy in [DEFAULT]"
            " state_path is gone; put it right by hand",
        )
    return Restore(
        step,
        path,
        was,
        now,
        sets_aside=bool(
            kept.coming == ANY and now and now.digest not in kept.digests
        ),
        note=_mixed(path, kept.mixed),
    )


def _original(kept: Kept, now: Entry | None) -> Entry | None:
    """What the file was, but for attributes that others changed since."""
    was = kept.was
    if was is None or now is None:
        return was
    is_known = kept.left is not None and kept.coming != ANY
    left = kept.left.attributes if kept.left and is_known else now.attributes
    found = Attributes._make(
        a if c == b else c
        for a, b, c in zip(was.attributes, left, now.attributes, strict=True)
    )
    if now.digest != was.digest:
        found = found._replace(mtime_ns=was.attributes.mtime_ns)
    return Entry(was.digest, found)


def _edited(step: str, path: str, kept: Kept, seen: Seen) -> Undo | None:
    if seen.entry is None:
        return Leave(
            step, path, f"{path} was removed since; it is not made again"
        )
    if kept.left is None:
        return Leave(
            step, path, f"{path} was made anew since; it stays as it is"
        )
    found = edit(path, kept, seen)
    if found is None:
        return Leave(step, path, _meeting(path, seen))
    if found.original == seen.contents:
        return None
    if found.original is None:
        return Restore(step, path, None, seen.entry)
    return Merge(
        step,
        found,
        f"{path} was edited since: the edit stays, ours is taken out",
    )


def _meeting(path: str, seen: Seen) -> str:
    words = diff3.added(
        seen.was or b"", seen.left or b"", seen.contents or b""
    )
    told = f"{path} was edited since where it was changed, and stays as it is"
    if seen.contents is None or seen.was is None or seen.left is None:
        return f"{told}: what it was cannot be told; look at it"
    if not words:
        return f"{told}; nothing of ours is in it"
    return f"{told}; ours in it: {' '.join(words)}; take it out by hand"


def _mixed(path: str, words: tuple[str, ...]) -> str:
    if not words:
        return ""
    return (
        f"{path} was edited where it had been changed; ours in it:"
        f" {' '.join(words)}; take it out by hand"
    )


def _image(
    record: Record,
    kept: Kept,
    seen: Seen,
    kernels: Mapping[str, str | None],
) -> Undo | None:
    """The kept image is put back where nobody built another since."""
    path, now, was = record.paths[0], seen.entry, kept.was
    is_ours = not _is_lost(kept, seen)
    if now is None and record.kernel not in kernels:
        return Leave(
            record.step,
            path,
            f"kernel {record.kernel} was removed since; its image is not"
            " put back",
        )
    if now is None and was is None:
        return None
    if is_ours and now and was and now.digest == was.digest:
        return None
    if (is_ours or now is None) and not kept.is_lost and seen.is_kept:
        return Restore(record.step, path, was, now)
    return Rebuild(record.step, record.target, record.kernel)


def _new(history: History, kernels: Mapping[str, str | None]) -> list[Rebuild]:
    """Images of kernels that came since, and so were built with ours."""
    ours = [r for r in history.records if r.kind is Kind.BUILD]
    known = {record.kernel for record in ours}
    if not ours:
        return []
    return [
        Rebuild(ours[0].step, image, release)
        for release, image in kernels.items()
        if image and release not in known
    ]
