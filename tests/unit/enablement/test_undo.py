from __future__ import annotations

import dataclasses
import hashlib

import pytest

from gpu_passthrough_plugin.enablement.foreign_edits import edits
from gpu_passthrough_plugin.enablement.undo import undo
from gpu_passthrough_plugin.model.change import (
    Action,
    Leave,
    Merge,
    Rebuild,
    Rerun,
    Restore,
    Undo,
)
from gpu_passthrough_plugin.model.change_history import (
    ANY,
    GONE,
    Attributes,
    Edit,
    Entry,
    History,
    Kept,
    Kind,
    Record,
    Seen,
)
from gpu_passthrough_plugin.model.enablement import Enablement

ENABLEMENT = Enablement((), "ids", (), "", {})
PATH = "/etc/default/grub"
IMAGE = "/boot/initrd.img-6.1"
KERNELS: dict[str, str | None] = {"6.1": IMAGE}
GRUB = ("/usr/sbin/update-grub",)


def entry(contents: bytes, mode: int = 0o644, mtime_ns: int = 1) -> Entry:
    digest = hashlib.sha256(contents).hexdigest()
    return Entry(digest, Attributes(mode, 0, 0, mtime_ns))


WAS, LEFT, OTHER = entry(b"was\n"), entry(b"left\n", mtime_ns=2), entry(b"x\n")
WRITE = Record(Kind.WRITE, "arguments", PATH, True, (PATH,))
RUN = Record(Kind.RUN, "menu", GRUB[0], True, (PATH,), GRUB)
BUILD = Record(Kind.BUILD, "image", IMAGE, True, (IMAGE,), kernel="6.1")


def steps(record: Record, kept: Kept, seen: Seen) -> tuple[Undo, ...]:
    history = History(ENABLEMENT, (record,), {record.paths[0]: kept})
    return undo(history, {record.paths[0]: seen}, KERNELS)


def merging(
    now: bytes, was: bytes = b"was\n", left: bytes = b"left\n"
) -> Seen:
    return Seen(entry(now), True, now, was, left)


@pytest.mark.parametrize("record", [WRITE, RUN])
@pytest.mark.parametrize(
    ("kept", "now", "action"),
    [
        (Kept(WAS, LEFT), LEFT, Action.CHANGE),
        (Kept(WAS, LEFT), WAS, None),
        (Kept(None, LEFT), LEFT, Action.REMOVE),
        (Kept(None, LEFT), None, None),
        (Kept(WAS, None), None, Action.CREATE),
        (Kept(WAS, None), WAS, None),
        # Killed on the way there.
        (Kept(WAS, WAS, coming=LEFT.digest), WAS, None),
        (Kept(WAS, WAS, coming=LEFT.digest), LEFT, Action.CHANGE),
        (Kept(WAS, LEFT, coming=OTHER.digest), LEFT, Action.CHANGE),
        (Kept(WAS, LEFT, coming=OTHER.digest), OTHER, Action.CHANGE),
        (Kept(WAS, WAS, coming=GONE), WAS, None),
        (Kept(WAS, WAS, coming=GONE), None, Action.CREATE),
        (Kept(WAS, WAS, coming=ANY), WAS, None),
        (Kept(WAS, WAS, coming=ANY), OTHER, Action.CHANGE),
        (Kept(None, None, coming=ANY), OTHER, Action.REMOVE),
        (Kept(None, None, coming=ANY), None, None),
        (Kept(WAS, WAS, coming=ANY), None, Action.CREATE),
    ],
)
def test_what_nobody_else_wrote_is_put_back(
    record: Record, kept: Kept, now: Entry | None, action: Action | None
) -> None:
    found = steps(record, kept, Seen(now))
    assert [s.action for s in found] == ([action] if action else [])
    for step in found:
        assert isinstance(step, Restore)
        assert (step.was, step.now) == (kept.was, now)
        assert step.sets_aside == (now is OTHER and kept.coming == ANY)


def test_attributes_that_others_changed_stay() -> None:
    now = entry(b"left\n", mode=0o600, mtime_ns=9)
    (step,) = steps(WRITE, Kept(WAS, LEFT), Seen(now))
    assert isinstance(step, Restore)
    assert step.was == entry(b"was\n", mode=0o600)
    # A command left it with a mode of its own.
    left = entry(b"was\n", mode=0o400, mtime_ns=7)
    (step,) = steps(RUN, Kept(WAS, left), Seen(left))
    assert isinstance(step, Restore)
    assert step.was == WAS
    # Somebody wrote the original by hand.
    now = entry(b"was\n", mtime_ns=9)
    assert steps(WRITE, Kept(WAS, LEFT), Seen(now)) == ()


def test_an_edit_that_merges() -> None:
    seen = merging(b"left\nx\n")
    (step,) = steps(WRITE, Kept(WAS, LEFT), seen)
    assert isinstance(step, Merge)
    assert step.edit == Edit(PATH, b"was\nx\n")
    assert PATH in step.note
    assert (step.target, step.action) == (PATH, Action.CHANGE)


def test_an_edit_that_took_ours_out() -> None:
    seen = merging(b"x\nwas\n", left=b"was\nleft\n")
    assert steps(WRITE, Kept(WAS, LEFT), seen) == ()
    (step,) = steps(WRITE, Kept(WAS, LEFT), merging(b"was\nx\n"))
    assert isinstance(step, Leave)


def test_what_is_left_of_a_file_of_ours_is_not_kept_when_empty() -> None:
    seen = merging(b"left\n\n", was=b"")
    (step,) = steps(WRITE, Kept(None, LEFT), seen)
    assert step.action is Action.REMOVE


@pytest.mark.parametrize(
    ("kept", "seen", "words"),
    [
        (Kept(WAS, LEFT), merging(b"left x\n", b"", b"left\n"), " left:"),
        (
            Kept(WAS, LEFT),
            merging(b"q a=on,x b\n", b"q\n", b"q a=on b\n"),
            " b:",
        ),
        (Kept(WAS, LEFT), Seen(OTHER, True, None), ""),
        (Kept(WAS, LEFT), Seen(OTHER, True, b"x\n", None), ""),
        (Kept(WAS, LEFT), Seen(None), ""),
        (Kept(WAS, None), merging(b"x\n", left=b""), ""),
        (Kept(WAS, LEFT), Seen(LEFT, is_kept=False), ""),
    ],
)
def test_what_stays_names_the_file_and_our_words(
    kept: Kept, seen: Seen, words: str
) -> None:
    (step,) = steps(WRITE, kept, seen)
    assert isinstance(step, Leave)
    assert step.action is Action.KEEP
    assert step.target == PATH
    assert PATH in step.note
    assert words in step.note


def test_words_of_ours_in_an_original_are_told() -> None:
    kept = Kept(WAS, LEFT, mixed=("a=on", "b"))
    (step,) = steps(WRITE, kept, Seen(LEFT))
    assert step.action is Action.CHANGE
    assert "a=on b" in step.note


def test_a_command_is_run_backwards_where_others_wrote_since() -> None:
    found = steps(RUN, Kept(WAS, LEFT), Seen(OTHER))
    assert found == (Rerun("menu", GRUB),)
    assert (found[0].target, found[0].action) == (GRUB[0], Action.RUN)
    lost = Kept(WAS, LEFT, is_lost=True)
    assert steps(RUN, lost, Seen(LEFT)) == (Rerun("menu", GRUB),)
    # One without a way back is a file like any other.
    (step,) = steps(
        dataclasses.replace(RUN, undo=()), Kept(WAS, LEFT), merging(b"x\n")
    )
    assert isinstance(step, Leave)


def test_a_command_without_files_is_always_run_backwards() -> None:
    for is_done in (True, False):
        record = dataclasses.replace(RUN, paths=(), is_done=is_done)
        history = History(ENABLEMENT, (record,))
        assert undo(history, {}, {}) == (Rerun("menu", GRUB),)


def test_files_of_a_command_that_are_as_left_are_put_back_first() -> None:
    record = dataclasses.replace(RUN, paths=("/a", "/b"))
    kept = Kept(WAS, LEFT)
    history = History(ENABLEMENT, (record,), {"/a": kept, "/b": kept})
    found = undo(history, {"/a": Seen(LEFT), "/b": Seen(OTHER)}, {})
    assert found == (
        Restore("menu", "/a", WAS, LEFT),
        Rerun("menu", GRUB),
    )


@pytest.mark.parametrize(
    ("kept", "seen", "wanted"),
    [
        (Kept(WAS, LEFT), Seen(LEFT), Restore),
        (Kept(WAS, LEFT), Seen(WAS), None),
        (Kept(WAS, WAS, coming=LEFT.digest), Seen(LEFT), Restore),
        (Kept(WAS, LEFT), Seen(OTHER), Rebuild),
        (Kept(WAS, LEFT), Seen(LEFT, is_kept=False), Rebuild),
        (Kept(WAS, LEFT, is_lost=True), Seen(LEFT), Rebuild),
        (Kept(WAS, LEFT, is_lost=True), Seen(WAS), Rebuild),
        (Kept(WAS, LEFT), Seen(None), Restore),
        (Kept(WAS, LEFT), Seen(None, is_kept=False), Rebuild),
        (Kept(None, LEFT), Seen(LEFT), Restore),
        (Kept(None, LEFT), Seen(OTHER), Rebuild),
        (Kept(None, LEFT), Seen(None), None),
    ],
)
def test_images(kept: Kept, seen: Seen, wanted: type[Undo] | None) -> None:
    found = steps(BUILD, dataclasses.replace(kept, beside="/b"), seen)
    assert [type(s) for s in found] == ([wanted] if wanted else [])
    assert [s.target for s in found] == ([IMAGE] if wanted else [])


def test_the_image_of_a_kernel_that_is_gone() -> None:
    history = History(ENABLEMENT, (BUILD,), {IMAGE: Kept(WAS, LEFT)})
    (step,) = undo(history, {IMAGE: Seen(None)}, {"6.2": None})
    assert isinstance(step, Leave)
    assert "6.1" in step.note


def test_images_of_kernels_that_came_since_are_built_anew() -> None:
    history = History(ENABLEMENT, (BUILD,), {IMAGE: Kept(WAS, LEFT)})
    kernels = {**KERNELS, "6.2": "/boot/initrd.img-6.2", "6.3": None}
    found = undo(history, {IMAGE: Seen(WAS)}, kernels)
    assert found == (Rebuild("image", "/boot/initrd.img-6.2", "6.2"),)
    none = History(ENABLEMENT, (WRITE,), {PATH: Kept(WAS, LEFT)})
    assert undo(none, {PATH: Seen(WAS)}, kernels) == ()


def test_the_order() -> None:
    """Files newest first, then images, then commands."""
    other = dataclasses.replace(
        BUILD, target="/boot/o", paths=("/boot/o",), kernel="6.0"
    )
    first = Record(Kind.WRITE, "a", "/a", True, ("/a",))
    remote = dataclasses.replace(RUN, target="kargs", paths=(), undo=("k",))
    kept = Kept(WAS, LEFT)
    history = History(
        ENABLEMENT,
        (first, other, remote, BUILD, RUN, WRITE),
        {"/a": kept, "/boot/o": kept, IMAGE: kept, PATH: kept},
    )
    seen = {
        "/a": Seen(LEFT),
        "/boot/o": Seen(OTHER),
        IMAGE: Seen(LEFT),
        PATH: Seen(LEFT),
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
    def found(record: Record, kept: Kept, seen: Seen) -> tuple[Edit, ...]:
        path = record.paths[0]
        history = History(ENABLEMENT, (record,), {path: kept})
        return edits(history, {path: seen})

    kept = Kept(WAS, LEFT)
    assert found(WRITE, kept, Seen(LEFT)) == ()
    assert found(WRITE, kept, Seen(WAS)) == ()
    assert found(WRITE, kept, merging(b"left\nx\n")) == (
        Edit(PATH, b"was\nx\n"),
    )
    assert found(WRITE, kept, Seen(None)) == (Edit(PATH, None),)
    assert found(WRITE, Kept(None, LEFT), merging(b"left\n\n", b"")) == (
        Edit(PATH, None),
    )
    mixed = merging(b"q a=on,x b\n", b"q\n", b"q a=on b\n")
    assert found(WRITE, Kept(WAS, LEFT, mixed=("c",)), mixed) == (
        Edit(PATH, b"q a=on,x b\n", ("c", "b")),
    )
    assert found(WRITE, Kept(WAS, WAS, coming=ANY), Seen(OTHER)) == ()
    # What a tool writes anew has ours in it again, wherever it is.
    lost = (Edit(PATH, None, is_lost=True),)
    assert found(RUN, kept, merging(b"left\nx\n")) == lost
    (image,) = found(BUILD, kept, Seen(OTHER))
    assert image.is_lost
