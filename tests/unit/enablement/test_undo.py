from __future__ import annotations

import dataclasses
import hashlib

import pytest

from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.foreign_edits import edits
from gpu_passthrough_plugin.enablement.undo import undo
from gpu_passthrough_plugin.model.change import (
    Action,
    Leave,
    Merge,
    Rebuild,
    Rerun,
    Restore,
    UndoStep,
)
from gpu_passthrough_plugin.model.change_history import (
    ANY,
    GONE,
    Attributes,
    ChangeKind,
    ChangeRecord,
    CurrentFile,
    Enablement,
    FileBackup,
    FileState,
    ForeignEdit,
    History,
)

ENABLEMENT = Enablement((), "ids", (), "", {})
PATH = "/etc/default/grub"
IMAGE = "/boot/initrd.img-6.1"
KERNELS: dict[str, str | None] = {"6.1": IMAGE}
GRUB = ("/usr/sbin/update-grub",)


def entry(contents: bytes, mode: int = 0o644, mtime_ns: int = 1) -> FileState:
    digest = hashlib.sha256(contents).hexdigest()
    return FileState(digest, Attributes(mode, 0, 0, mtime_ns))


WAS, LEFT, OTHER = entry(b"was\n"), entry(b"left\n", mtime_ns=2), entry(b"x\n")
WRITE = ChangeRecord(ChangeKind.WRITE, "arguments", PATH, True, (PATH,))
RUN = ChangeRecord(ChangeKind.RUN, "menu", GRUB[0], True, (PATH,), GRUB)
BUILD = ChangeRecord(
    ChangeKind.BUILD, "image", IMAGE, True, (IMAGE,), kernel="6.1"
)


def steps(
    record: ChangeRecord, backup: FileBackup, current: CurrentFile
) -> tuple[UndoStep, ...]:
    history = History(ENABLEMENT, (record,), {record.paths[0]: backup})
    return undo(history, {record.paths[0]: current}, KERNELS)


def merging(
    now: bytes, was: bytes = b"was\n", left: bytes = b"left\n"
) -> CurrentFile:
    return CurrentFile(entry(now), True, now, was, left)


@pytest.mark.parametrize("record", [WRITE, RUN])
@pytest.mark.parametrize(
    ("backup", "now", "action"),
    [
        (FileBackup(WAS, LEFT), LEFT, Action.CHANGE),
        (FileBackup(WAS, LEFT), WAS, None),
        (FileBackup(None, LEFT), LEFT, Action.REMOVE),
        (FileBackup(None, LEFT), None, None),
        (FileBackup(WAS, None), None, Action.CREATE),
        (FileBackup(WAS, None), WAS, None),
        # Killed on the way there.
        (FileBackup(WAS, WAS, pending=LEFT.digest), WAS, None),
        (FileBackup(WAS, WAS, pending=LEFT.digest), LEFT, Action.CHANGE),
        (FileBackup(WAS, LEFT, pending=OTHER.digest), LEFT, Action.CHANGE),
        (FileBackup(WAS, LEFT, pending=OTHER.digest), OTHER, Action.CHANGE),
        (FileBackup(WAS, WAS, pending=GONE), WAS, None),
        (FileBackup(WAS, WAS, pending=GONE), None, Action.CREATE),
        (FileBackup(WAS, WAS, pending=ANY), WAS, None),
        (FileBackup(WAS, WAS, pending=ANY), OTHER, Action.CHANGE),
        (FileBackup(None, None, pending=ANY), OTHER, Action.REMOVE),
        (FileBackup(None, None, pending=ANY), None, None),
        (FileBackup(WAS, WAS, pending=ANY), None, Action.CREATE),
    ],
)
def test_a_file_without_foreign_edits_is_restored(
    record: ChangeRecord,
    backup: FileBackup,
    now: FileState | None,
    action: Action | None,
) -> None:
    undone = steps(record, backup, CurrentFile(now))
    assert [s.action for s in undone] == ([action] if action else [])
    for step in undone:
        assert isinstance(step, Restore)
        assert (step.original, step.current) == (backup.original, now)
        assert step.sets_aside == (now is OTHER and backup.pending == ANY)


def test_attributes_that_others_changed_stay() -> None:
    now = entry(b"left\n", mode=0o600, mtime_ns=9)
    (step,) = steps(WRITE, FileBackup(WAS, LEFT), CurrentFile(now))
    assert isinstance(step, Restore)
    assert step.original == entry(b"was\n", mode=0o600)
    # A command left it with a mode of its own.
    left = entry(b"was\n", mode=0o400, mtime_ns=7)
    (step,) = steps(RUN, FileBackup(WAS, left), CurrentFile(left))
    assert isinstance(step, Restore)
    assert step.original == WAS
    # The original was written manually.
    now = entry(b"was\n", mtime_ns=9)
    assert steps(WRITE, FileBackup(WAS, LEFT), CurrentFile(now)) == ()


def test_an_edit_that_merges() -> None:
    seen = merging(b"left\nx\n")
    (step,) = steps(WRITE, FileBackup(WAS, LEFT), seen)
    assert isinstance(step, Merge)
    assert step.edit == ForeignEdit(PATH, b"was\nx\n")
    assert PATH in step.note
    assert (step.target, step.action) == (PATH, Action.CHANGE)


def test_an_edit_that_removed_the_change() -> None:
    seen = merging(b"x\nwas\n", left=b"was\nleft\n")
    assert steps(WRITE, FileBackup(WAS, LEFT), seen) == ()
    (step,) = steps(WRITE, FileBackup(WAS, LEFT), merging(b"was\nx\n"))
    assert isinstance(step, Leave)


def test_an_own_file_that_is_empty_after_a_merge_is_removed() -> None:
    seen = merging(b"left\n\n", was=b"")
    (step,) = steps(WRITE, FileBackup(None, LEFT), seen)
    assert step.action is Action.REMOVE


@pytest.mark.parametrize(
    ("backup", "current", "words"),
    [
        (
            FileBackup(WAS, LEFT),
            merging(b"left x\n", b"", b"left\n"),
            " left:",
        ),
        (
            FileBackup(WAS, LEFT),
            merging(b"q a=on,x b\n", b"q\n", b"q a=on b\n"),
            " b:",
        ),
        (FileBackup(WAS, LEFT), CurrentFile(OTHER, True, None), ""),
        (FileBackup(WAS, LEFT), CurrentFile(OTHER, True, b"x\n", None), ""),
        (FileBackup(WAS, LEFT), CurrentFile(None), ""),
        (FileBackup(WAS, None), merging(b"x\n", left=b""), ""),
        (FileBackup(WAS, LEFT), CurrentFile(LEFT, has_backup=False), ""),
    ],
)
def test_a_file_left_unchanged_is_named_with_its_words(
    backup: FileBackup, current: CurrentFile, words: str
) -> None:
    (step,) = steps(WRITE, backup, current)
    assert isinstance(step, Leave)
    assert step.action is Action.KEEP
    assert step.target == PATH
    assert PATH in step.note
    assert words in step.note


def test_words_of_this_product_in_an_original_are_named() -> None:
    kept = FileBackup(WAS, LEFT, embedded=("a=on", "b"))
    (step,) = steps(WRITE, kept, CurrentFile(LEFT))
    assert step.action is Action.CHANGE
    assert "a=on b" in step.note


def test_a_command_is_undone_by_a_command_after_foreign_edits() -> None:
    undone = steps(RUN, FileBackup(WAS, LEFT), CurrentFile(OTHER))
    assert undone == (Rerun("menu", GRUB),)
    assert (undone[0].target, undone[0].action) == (GRUB[0], Action.RUN)
    lost = FileBackup(WAS, LEFT, is_lost=True)
    assert steps(RUN, lost, CurrentFile(LEFT)) == (Rerun("menu", GRUB),)
    # One without a way back is a file like any other.
    (step,) = steps(
        dataclasses.replace(RUN, undo_argv=()),
        FileBackup(WAS, LEFT),
        merging(b"x\n"),
    )
    assert isinstance(step, Leave)


def test_a_command_without_files_is_undone_by_a_command() -> None:
    for is_done in (True, False):
        record = dataclasses.replace(RUN, paths=(), is_done=is_done)
        history = History(ENABLEMENT, (record,))
        assert undo(history, {}, {}) == (Rerun("menu", GRUB),)


def test_unedited_files_of_a_command_are_restored_first() -> None:
    record = dataclasses.replace(RUN, paths=("/a", "/b"))
    kept = FileBackup(WAS, LEFT)
    history = History(ENABLEMENT, (record,), {"/a": kept, "/b": kept})
    undone = undo(
        history, {"/a": CurrentFile(LEFT), "/b": CurrentFile(OTHER)}, {}
    )
    assert undone == (
        Restore("menu", "/a", WAS, LEFT),
        Rerun("menu", GRUB),
    )


@pytest.mark.parametrize(
    ("backup", "current", "step_type"),
    [
        (FileBackup(WAS, LEFT), CurrentFile(LEFT), Restore),
        (FileBackup(WAS, LEFT), CurrentFile(WAS), None),
        (
            FileBackup(WAS, WAS, pending=LEFT.digest),
            CurrentFile(LEFT),
            Restore,
        ),
        (FileBackup(WAS, LEFT), CurrentFile(OTHER), Rebuild),
        (FileBackup(WAS, LEFT), CurrentFile(LEFT, has_backup=False), Rebuild),
        (FileBackup(WAS, LEFT, is_lost=True), CurrentFile(LEFT), Rebuild),
        (FileBackup(WAS, LEFT, is_lost=True), CurrentFile(WAS), Rebuild),
        (FileBackup(WAS, LEFT), CurrentFile(None), Restore),
        (FileBackup(WAS, LEFT), CurrentFile(None, has_backup=False), Rebuild),
        (FileBackup(None, LEFT), CurrentFile(LEFT), Restore),
        (FileBackup(None, LEFT), CurrentFile(OTHER), Rebuild),
        (FileBackup(None, LEFT), CurrentFile(None), None),
    ],
)
def test_images(
    backup: FileBackup, current: CurrentFile, step_type: type[UndoStep] | None
) -> None:
    backup = dataclasses.replace(backup, backup_path="/b")
    undone = [(type(s), s.target) for s in steps(BUILD, backup, current)]
    assert undone == ([(step_type, IMAGE)] if step_type else [])


def test_the_image_of_a_removed_kernel() -> None:
    history = History(ENABLEMENT, (BUILD,), {IMAGE: FileBackup(WAS, LEFT)})
    (step,) = undo(history, {IMAGE: CurrentFile(None)}, {"6.2": None})
    assert isinstance(step, Leave)
    assert "6.1" in step.note


def test_images_of_new_kernels_are_rebuilt() -> None:
    history = History(ENABLEMENT, (BUILD,), {IMAGE: FileBackup(WAS, LEFT)})
    kernels = {**KERNELS, "6.2": "/boot/initrd.img-6.2", "6.3": None}
    undone = undo(history, {IMAGE: CurrentFile(WAS)}, kernels)
    assert undone == (Rebuild("image", "/boot/initrd.img-6.2", "6.2"),)
    none = History(ENABLEMENT, (WRITE,), {PATH: FileBackup(WAS, LEFT)})
    assert undo(none, {PATH: CurrentFile(WAS)}, kernels) == ()


def test_the_order() -> None:
    """Files newest first, then images, then commands."""
    other = dataclasses.replace(
        BUILD, target="/boot/o", paths=("/boot/o",), kernel="6.0"
    )
    first = ChangeRecord(ChangeKind.WRITE, "a", "/a", True, ("/a",))
    remote = dataclasses.replace(
        RUN, target="kargs", paths=(), undo_argv=("k",)
    )
    kept = FileBackup(WAS, LEFT)
    history = History(
        ENABLEMENT,
        (first, other, remote, BUILD, RUN, WRITE),
        {"/a": kept, "/boot/o": kept, IMAGE: kept, PATH: kept},
    )
    seen = {
        "/a": CurrentFile(LEFT),
        "/boot/o": CurrentFile(OTHER),
        IMAGE: CurrentFile(LEFT),
        PATH: CurrentFile(LEFT),
    }
    kernels = {**KERNELS, "6.0": "/boot/o"}
    assert [(type(s), s.target) for s in undo(history, seen, kernels)] == [
        (Restore, PATH),
        (Restore, IMAGE),
        (Restore, "/a"),
        (Rebuild, "/boot/o"),
        (Rerun, "k"),
    ]


def test_edits_become_the_original() -> None:
    def recorded(
        record: ChangeRecord, backup: FileBackup, current: CurrentFile
    ) -> tuple[ForeignEdit, ...]:
        path = record.paths[0]
        history = History(ENABLEMENT, (record,), {path: backup})
        return edits(history, {path: current})

    kept = FileBackup(WAS, LEFT)
    assert recorded(WRITE, kept, CurrentFile(LEFT)) == ()
    assert recorded(WRITE, kept, CurrentFile(WAS)) == ()
    assert recorded(WRITE, kept, merging(b"left\nx\n")) == (
        ForeignEdit(PATH, b"was\nx\n"),
    )
    assert recorded(WRITE, kept, CurrentFile(None)) == (
        ForeignEdit(PATH, None),
    )
    assert recorded(
        WRITE, FileBackup(None, LEFT), merging(b"left\n\n", b"")
    ) == (ForeignEdit(PATH, None),)
    mixed = merging(b"q a=on,x b\n", b"q\n", b"q a=on b\n")
    assert recorded(WRITE, FileBackup(WAS, LEFT, embedded=("c",)), mixed) == (
        ForeignEdit(PATH, b"q a=on,x b\n", ("c", "b")),
    )
    assert (
        recorded(WRITE, FileBackup(WAS, WAS, pending=ANY), CurrentFile(OTHER))
        == ()
    )
    # A generated file holds the change again, wherever it is.
    lost = (ForeignEdit(PATH, None, is_lost=True),)
    assert recorded(RUN, kept, merging(b"left\nx\n")) == lost
    (image,) = recorded(BUILD, kept, CurrentFile(OTHER))
    assert image.is_lost


SELECTION = dataclasses.replace(WRITE, step=own_files.SELECTION_STEP)


@pytest.mark.parametrize("original", [None, WAS])
def test_an_edited_selection_stays_whole(original: FileState | None) -> None:
    """Part of an operator's list is no list of an operator's."""
    backup = FileBackup(original, LEFT)
    current = CurrentFile(OTHER, contents=b"x\n", last_written=b"left\n")
    (step,) = steps(SELECTION, backup, current)
    assert isinstance(step, Leave)
    assert PATH in step.note
    history = History(ENABLEMENT, (SELECTION,), {PATH: backup})
    assert edits(history, {PATH: current}) == (ForeignEdit(PATH, b"x\n"),)


def test_a_selection_that_is_the_operators_is_told() -> None:
    backup = FileBackup(WAS, WAS)
    (step,) = steps(SELECTION, backup, CurrentFile(WAS))
    assert isinstance(step, Leave)
    assert steps(WRITE, backup, CurrentFile(WAS)) == ()


def test_a_selection_that_nobody_edited_is_undone() -> None:
    (step,) = steps(SELECTION, FileBackup(None, LEFT), CurrentFile(LEFT))
    assert isinstance(step, Restore)
    assert step.original is None
    gone = CurrentFile(None)
    assert steps(SELECTION, FileBackup(None, LEFT), gone) == ()
