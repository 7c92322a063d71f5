"""The audit record as a file: private, appended to, bounded, readable."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import event_log
from gpu_passthrough_plugin.host.event_log import EventFile
from gpu_passthrough_plugin.model import event as model
from gpu_passthrough_plugin.model.event import (
    Actor,
    Event,
    EventQuery,
    Retention,
    Transition,
)

A = "aaaaaaaa-0000-4000-8000-000000000001"
DAY_US = 86_400_000_000
NOW_US = time.time_ns() // 1000
EVERYTHING = EventQuery()


def event(generation: int, age_days: int = 0) -> Event:
    return Event(
        NOW_US - age_days * DAY_US,
        Transition("h", "0000:01:00.0", "free", "claimed", generation, A),
        "",
        Actor("instance boot", "h", "alice", 1000),
    )


def file_of(folder: Path, days: int = 0, number: int = 0) -> EventFile:
    return EventFile(
        str(folder / "state" / "events.jsonl"), Retention(days, number)
    )


def path_of(folder: Path) -> Path:
    return folder / "state" / "events.jsonl"


def generations(file: EventFile) -> list[int]:
    listing = file.read(EVERYTHING)
    return [e.transition.generation for e in listing.events]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    assert file.read(EVERYTHING) == model.EventListing(())
    file.append([event(1), event(2)])
    file.append([event(3)])
    listing = file.read(EVERYTHING)
    assert listing.events == (event(1), event(2), event(3))
    assert listing.malformed == ()
    assert file.read(EventQuery(limit=1)).has_more
    path = path_of(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_text().count("\n") == 3


def test_a_line_that_was_cut_off_takes_no_other_along(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    file.append([event(1)])
    path = path_of(tmp_path)
    with path.open("ab") as cut:
        cut.write(model.line(event(2)).encode()[:40])
    file.append([event(3)])
    listing = file.read(EVERYTHING)
    assert [e.transition.generation for e in listing.events] == [1, 3]
    (line,) = listing.malformed
    assert str(path) in line


def test_forged_lines_are_left_out(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    file.append([event(1)])
    path = path_of(tmp_path)
    with path.open("ab") as forged:
        forged.write(b"\xff\xfe\n")
        forged.write(b"[]\n")
        forged.write(b"x" * 300_000 + b"\n")
        forged.write(b'{"time_us":' + b"9" * 5000 + b"}\n")
        forged.write(b"\n" * 100)
    file.append([event(2)])
    listing = file.read(EVERYTHING)
    assert [e.transition.generation for e in listing.events] == [1, 2]
    assert 4 < len(listing.malformed) < 30
    assert all(len(line) < 400 for line in listing.malformed)


def test_old_ones_are_neither_listed_nor_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_of(tmp_path).append([event(1, 9), event(2, 3), event(3)])
    assert generations(file_of(tmp_path, days=5)) == [2, 3]
    assert generations(file_of(tmp_path, number=1)) == [3]
    assert path_of(tmp_path).read_text().count("\n") == 3
    monkeypatch.setattr(event_log, "PRUNE_INTERVAL_BYTES", 1)
    file_of(tmp_path, days=5).append([event(4)])
    assert generations(file_of(tmp_path)) == [2, 3, 4]
    file_of(tmp_path, number=2).append([event(5)])
    assert generations(file_of(tmp_path)) == [4, 5]
    assert stat.S_IMODE(path_of(tmp_path).stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "state") == ["events.jsonl"]


def test_only_the_end_of_a_huge_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(tmp_path)
    file.append([event(number) for number in range(1, 100)])
    monkeypatch.setattr(event_log, "MAX_BYTES", 1000)
    listing = file.read(EVERYTHING)
    assert listing.malformed == ()
    assert [e.transition.generation for e in listing.events][-1] == 99
    assert 1 <= len(listing.events) < 10


def test_a_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    file.append([event(1)])
    path_of(tmp_path).chmod(0o666)
    for act in (
        lambda: file.append([event(2)]),
        lambda: file.read(EVERYTHING),
    ):
        with pytest.raises(errors.Unavailable, match="666"):
            act()


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = path_of(tmp_path)
    path.parent.mkdir(mode=0o700)
    if kind == "link":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    with pytest.raises(errors.Unavailable, match=str(path)):
        file_of(tmp_path).append([event(1)])


WRITER = (
    "import sys\n"
    "from tests.unit.host.test_event_log import *\n"
    "from gpu_passthrough_plugin.host import event_log\n"
    "event_log.PRUNE_INTERVAL_BYTES = 2000\n"
    "file = file_of(Path(sys.argv[1]), number=10_000)\n"
    "for number in range(150):\n"
    "    file.append([event(int(sys.argv[2]) * 1000 + number)])\n"
)


def test_several_processes_lose_no_line(tmp_path: Path) -> None:
    """While the file is written again under them."""
    file_of(tmp_path).append([event(9_000_000 + n, 9) for n in range(50)])
    root = str(Path(__file__).parents[3])
    script = WRITER.replace("number=10_000", "days=5, number=10_000")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(number)],
            env=os.environ | {"PYTHONPATH": root},
        )
        for number in range(3)
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    listed = generations(file_of(tmp_path))
    assert sorted(listed) == [
        writer * 1000 + number for writer in range(3) for number in range(150)
    ]
