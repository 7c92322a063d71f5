"""What undoes every change that was made to a host."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.foreign_edits import (
    is_foreign,
    merged,
    own_words,
)
from gpu_passthrough_plugin.model.change import (
    NEW_PATH,
    Leave,
    Merge,
    Rebuild,
    Rerun,
    Restore,
    UndoStep,
)
from gpu_passthrough_plugin.model.change_history import (
    ANY,
    Attributes,
    ChangeKind,
    ChangeRecord,
    CurrentFile,
    FileBackup,
    FileState,
    History,
)


def undo(
    history: History,
    current_files: Mapping[str, CurrentFile],
    kernels: Mapping[str, str | None],
) -> tuple[UndoStep, ...]:
    """Return every step, newest change first; a file in order has none.

    All files come first, then images that have to be rebuilt, then commands
    that undo another command.

    :param current_files: every file of the history as it is now.
    :param kernels: image of each installed kernel, by release.
    """
    files: list[UndoStep] = []
    images: list[UndoStep] = []
    commands: list[UndoStep] = []
    done: set[str] = set()
    for record in reversed(history.records):
        is_rerun = _is_rerun(record, history, current_files)
        for path in record.paths:
            if path in done:
                continue
            done.add(path)
            backup, current = history.files[path], current_files[path]
            is_image = record.kind is ChangeKind.BUILD
            if is_image and path == record.paths[0]:
                step = _image(record, backup, current, kernels)
            elif (is_rerun or is_image) and _is_lost(backup, current):
                continue
            else:
                step = _file(record.step, path, backup, current)
            if step:
                (images if isinstance(step, Rebuild) else files).append(step)
        if is_rerun:
            commands.append(_rerun(record))
    return (*files, *images, *_new_images(history, kernels), *commands)


def _rerun(record: ChangeRecord) -> Rerun:
    has_output = any(NEW_PATH in word for word in record.undo_argv)
    output = record.paths[0] if has_output else ""
    return Rerun(record.step, record.undo_argv, output=output)


def _is_rerun(
    record: ChangeRecord,
    history: History,
    current_files: Mapping[str, CurrentFile],
) -> bool:
    """Return whether restoring its files does not undo the command."""
    return bool(record.undo_argv) and (
        not record.paths
        or any(
            _is_lost(history.files[p], current_files[p]) for p in record.paths
        )
    )


def _is_lost(backup: FileBackup, current: CurrentFile) -> bool:
    return backup.is_lost or is_foreign(backup, current.state)


def _file(
    step: str, path: str, backup: FileBackup, current: CurrentFile
) -> UndoStep | None:
    if is_foreign(backup, current.state):
        return _edited(step, path, backup, current)
    now = current.state
    was = _original(backup, now)
    if was == now:
        is_kept = step == own_files.SELECTION_STEP and now is not None
        return Leave(step, path, _kept_note(path)) if is_kept else None
    if (
        was
        and not current.has_backup
        and (not now or was.digest != now.digest)
    ):
        return Leave(
            step,
            path,
            f"the saved original of {path} in [DEFAULT] state_path is missing"
            " or damaged; left unchanged; restore it manually",
        )
    return Restore(
        step,
        path,
        was,
        now,
        sets_aside=bool(
            backup.pending == ANY
            and now
            and now.digest not in backup.known_digests
        ),
        note=_embedded_note(path, backup.embedded),
    )


def _original(backup: FileBackup, now: FileState | None) -> FileState | None:
    """Return the original, with the attributes that others changed since."""
    was = backup.original
    if was is None or now is None:
        return was
    is_settled = backup.last_written is not None and backup.pending != ANY
    left = (
        backup.last_written.attributes
        if backup.last_written and is_settled
        else now.attributes
    )
    attributes = Attributes._make(
        original if current == written else current
        for original, written, current in zip(
            was.attributes, left, now.attributes, strict=True
        )
    )
    if now.digest != was.digest:
        attributes = attributes._replace(mtime_ns=was.attributes.mtime_ns)
    return FileState(was.digest, attributes)


def _edited(
    step: str, path: str, backup: FileBackup, current: CurrentFile
) -> UndoStep | None:
    if current.state is None:
        return Leave(step, path, f"{path} was removed since; not restored")
    if step == own_files.SELECTION_STEP:
        return Leave(step, path, _kept_note(path))
    if backup.last_written is None:
        return Leave(
            step, path, f"{path} was regenerated since; left unchanged"
        )
    edit = merged(path, backup, current)
    if edit is None:
        return Leave(step, path, _conflict_note(path, current))
    if edit.original == current.contents:
        return None
    if edit.original is None:
        return Restore(step, path, None, current.state)
    return Merge(
        step,
        edit,
        f"{path} was edited since; the edit is kept, and what 'host enable'"
        " added is removed",
    )


def _kept_note(path: str) -> str:
    return (
        f"{path} holds an operator's selection and is kept; every command"
        " reads it: remove it to use [discovery] select again"
    )


def _conflict_note(path: str, current: CurrentFile) -> str:
    words = own_words(current)
    note = f"{path} was edited since in the same place; left unchanged"
    if (
        current.contents is None
        or current.original is None
        or current.last_written is None
    ):
        return f"{note}: what it was is not known; check it"
    if not words:
        return f"{note}; nothing that 'host enable' added is in it"
    return (
        f"{note}; 'host enable' added {' '.join(words)}: remove that manually"
    )


def _embedded_note(path: str, words: tuple[str, ...]) -> str:
    if not words:
        return ""
    return (
        f"{path} was edited in the same place; 'host enable' added"
        f" {' '.join(words)}: remove that manually"
    )


def _image(
    record: ChangeRecord,
    backup: FileBackup,
    current: CurrentFile,
    kernels: Mapping[str, str | None],
) -> UndoStep | None:
    """Return what restores the kept image where it was not rebuilt since."""
    path, now, was = record.paths[0], current.state, backup.original
    is_ours = not _is_lost(backup, current)
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
    if (is_ours or now is None) and not backup.is_lost and current.has_backup:
        return Restore(record.step, path, was, now)
    return Rebuild(record.step, record.target, record.kernel)


def _new_images(
    history: History, kernels: Mapping[str, str | None]
) -> list[Rebuild]:
    """Return rebuilds for kernels installed since, whose images hold ours."""
    builds = [r for r in history.records if r.kind is ChangeKind.BUILD]
    built_for = {record.kernel for record in builds}
    if not builds:
        return []
    return [
        Rebuild(builds[0].step, image, release)
        for release, image in kernels.items()
        if image and release not in built_for
    ]
