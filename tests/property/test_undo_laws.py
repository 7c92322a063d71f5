"""Whatever was changed, in any order: taken back, all is as it was."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.enablement.diff3 import merged
from gpu_passthrough_plugin.enablement.foreign_edits import edits
from gpu_passthrough_plugin.enablement.undo import undo
from gpu_passthrough_plugin.host.boot.apply import Applier
from gpu_passthrough_plugin.host.boot.journal import JournalStore
from gpu_passthrough_plugin.host.boot.revert import Reverter
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import Run, Write
from gpu_passthrough_plugin.model.change_history import Enablement

_WORD = re.compile(rb"[^\s\"']+")
ENABLEMENT = Enablement((), "ids", (), "", {})
PATHS = ("/etc/a", "/etc/b/c", "/etc/b/d", "/etc/link", "/usr/x/y/z")
MENU = "/boot/menu"
# Does what its arguments say to files below the folder it is run in.
TOOL = '#!/bin/sh\nmkdir -p boot; printf "%s" "$1" > boot/menu\n'

contents = st.none() | st.sampled_from([b"", b"x\n", b"x\ny\n", b"y\n"])
writes = st.tuples(st.sampled_from(PATHS), contents)
runs = st.tuples(st.just(MENU), st.sampled_from(["one", "two"]))
plans = st.lists(st.lists(writes | runs, max_size=4), max_size=4)
trees = st.dictionaries(
    st.sampled_from((*PATHS, MENU)),
    st.tuples(
        st.binary(max_size=8), st.sampled_from([0o600, 0o444]), st.integers(1)
    ),
)
words = st.sampled_from(["q", "on", "pt", "'", '"', " ", "\n", "#"])
texts = st.lists(words, max_size=12).map(lambda w: "".join(w).encode())


class Host:
    def __init__(self, folder: str) -> None:
        self.root = Path(folder) / "root"
        self.state = Path(folder) / "state"
        self.files = Files(str(self.root))
        self.changes = JournalStore(str(self.state / "enablement"))
        self.commands = Commands(
            str(self.state / "log"),
            str(self.state / "lock"),
            lambda _: None,
            root=str(self.root),
        )

    def fill(self, tree: dict[str, tuple[bytes, int, int]]) -> None:
        for path, (data, mode, time_s) in tree.items():
            at = self.root / path.removeprefix("/")
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes(data)
            at.chmod(mode)
            os.utime(at, (time_s % 2**31, time_s % 2**31))
        link = self.root / "etc/link"
        if "/etc/link" not in tree:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("../var/behind/link")
        tool = self.root / "bin/tool"
        tool.parent.mkdir()
        tool.write_text(TOOL)
        tool.chmod(0o755)

    def enable(self, plan: list[tuple[str, bytes | str | None]]) -> None:
        applier = Applier(
            self.files, self.commands, self.changes, lambda _: None
        )
        for path, wanted in plan:
            history = applier.history()
            found = (
                edits(history, applier.current_files(history))
                if history
                else ()
            )
            if isinstance(wanted, str):
                change: Run | Write = Run("s", ("/bin/tool", wanted), (MENU,))
            else:
                change = Write("s", path, self.files.read(path), wanted)
            applier.apply([change], ENABLEMENT, found)

    def disable(self) -> None:
        applier = Applier(
            self.files, self.commands, self.changes, lambda _: None
        )
        history = applier.history()
        if history is None:
            return
        steps = undo(history, applier.current_files(history), {})
        reverter = Reverter(
            self.files, self.commands, self.changes, lambda _: None
        )
        reverter.revert(history, steps, lambda _: None)

    def snapshot(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.root.rglob("*")):
            state = path.lstat()
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = (os.readlink(path),)
            elif path.is_dir():
                found[name] = (state.st_mode,)
            else:
                data = path.read_bytes()
                found[name] = (state.st_mode, state.st_mtime_ns, data)
        return found


@settings(max_examples=60)
@given(trees, plans)
def test_any_plans_are_taken_back(
    tree: dict[str, tuple[bytes, int, int]],
    made: list[list[tuple[str, bytes | str | None]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = Host(folder)
        host.fill(tree)
        before = host.snapshot()
        for plan in made:
            host.enable(plan)
        host.disable()
        assert host.snapshot() == before
        assert not (host.state / "enablement").exists()


@settings(max_examples=60)
@given(st.data())
def test_an_edit_in_another_place_survives(data: st.DataObject) -> None:
    """Wherever somebody puts lines of their own, and whenever."""
    lines = [f"line {number}\n".encode() for number in range(9)]
    spots = st.integers(0, len(lines))
    plan = [
        [*lines[:spot], f"ours {number}\n".encode(), *lines[spot:]]
        for number, spot in enumerate(
            data.draw(st.lists(spots, min_size=1, max_size=2))
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        host = Host(folder)
        host.fill({"/etc/a": (b"".join(lines), 0o644, 1)})
        wanted = list(lines)
        for number, ours in enumerate(plan):
            now = host.files.read("/etc/a") or b""
            for line in now.splitlines(keepends=True):
                if line.startswith(b"mine"):
                    ours = _beside(ours, now, line)
            host.enable([("/etc/a", b"".join(ours))])
            mine = f"mine {number}\n".encode()
            # Not where ours is: what stands there first is not plain.
            spot = data.draw(st.integers(0, len(lines)))
            before = lines[spot] if spot < len(lines) else None
            if before is None:
                wanted.append(mine)
            else:
                wanted.insert(wanted.index(before), mine)
            path = host.root / "etc/a"
            text = path.read_bytes().splitlines(keepends=True)
            place = text.index(before) if before else len(text)
            text.insert(place, mine)
            path.write_bytes(b"".join(text))
        host.disable()
        assert host.files.read("/etc/a") == b"".join(wanted)


def _beside(ours: list[bytes], now: bytes, line: bytes) -> list[bytes]:
    """What a plan makes of a file keeps the lines that others put in."""
    text = now.splitlines(keepends=True)
    after = text[text.index(line) + 1 :]
    known = next((each for each in after if each in ours), None)
    place = ours.index(known) if known else len(ours)
    return [*ours[:place], line, *ours[place:]]


@given(texts, texts, texts)
def test_one_change_alone_is_made(left: bytes, was: bytes, now: bytes) -> None:
    assert merged(left, was, left) == was
    assert merged(left, left, now) == now
    assert merged(left, was, was) == was


@given(texts, texts, texts)
@example(b"\n", b"q", b"\nq")
def test_a_merge_makes_no_words_up(
    left: bytes, was: bytes, now: bytes
) -> None:
    found = merged(left, was, now)
    known = {w for text in (left, was, now) for w in _WORD.findall(text)}
    assert set(_WORD.findall(found or b"")) <= known
