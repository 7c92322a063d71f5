"""What begins a pass of the agent: a touched file, and events of devices."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gpu_passthrough_plugin.host.agent_triggers import Marker, watch_devices


class Over(BaseException):
    """Ends what would go on for good."""


class Events:
    """What a test says of events: whether there is one, or an error."""

    def __init__(self, answers: Iterable[bool | OSError]) -> None:
        self._answers = iter(answers)
        self.is_current = True

    def wait(self, timeout_s: float) -> bool:
        answer = next(self._answers, None)
        if answer is None:
            raise Over
        if isinstance(answer, OSError):
            raise answer
        return answer


def watched(
    monkeypatch: pytest.MonkeyPatch,
    *connections: Callable[[], Events],
) -> tuple[int, list[str], list[float]]:
    """Return how often it woke, what it said, and how long it slept."""
    woken, said, slept = [], list[str](), list[float]()
    monkeypatch.setattr(time, "sleep", slept.append)
    left = list(connections)

    def connect() -> Events:
        if not left:
            raise Over
        return left.pop(0)()

    with contextlib.suppress(Over):
        watch_devices(lambda: woken.append(1), said.append, connect)
    return len(woken), said, slept


def failing(error: Exception) -> Callable[[], Events]:
    def connect() -> Events:
        raise error

    return connect


NO_NETLINK = OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
BROKEN = OSError(errno.EBADF, os.strerror(errno.EBADF))


def test_a_burst_wakes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    burst = [True] * 50
    events = Events([*burst, False, False, *burst, False])
    woken, said, slept = watched(monkeypatch, lambda: events)
    assert (woken, said) == (2, [])
    assert len(slept) == 2


def test_a_storm_wakes_once_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    events = Events([True] * 10_000)
    woken, said, slept = watched(monkeypatch, lambda: events)
    assert said == []
    assert woken <= 2 * len(slept) <= 20


def test_it_comes_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    woken, said, slept = watched(
        monkeypatch,
        lambda: Events([True, False, BROKEN]),
        lambda: Events([BROKEN]),
        lambda: Events([True, False]),
    )
    # One for each event, and for each time that some may have been lost.
    assert (woken, said) == (4, [])
    # It does not try again at once, for good.
    assert sum(slept) >= 6


def test_what_cannot_be_had_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken, said, slept = watched(monkeypatch, *[failing(NO_NETLINK)] * 9)
    assert woken == 0
    (line,) = said
    assert "Address family not supported" in line
    assert "[agent] interval_s" in line
    assert slept[-1] == 60


def test_it_is_given_up_without_libudev(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken, said, slept = watched(monkeypatch, failing(ImportError("No udev")))
    assert (woken, len(said), slept) == (0, 1, [])
    assert "No udev" in said[0]


def test_udevd_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own events are followed no longer."""
    first = Events([])
    first.is_current = False
    woken, said, _ = watched(
        monkeypatch, lambda: first, lambda: Events([False])
    )
    assert (woken, said) == (1, [])


@pytest.fixture
def said() -> list[str]:
    return []


def touch(path: Path, at: int) -> None:
    path.touch()
    os.utime(path, (at, at))


def test_a_touch_is_seen_once(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "marker"
    marker = Marker(str(path), said.append)
    assert not marker.is_touched()
    for at in (1000, 2000, 1500):
        touch(path, at)
        assert marker.is_touched()
        assert not marker.is_touched()
    path.unlink()
    assert not marker.is_touched()
    touch(path, 3000)
    assert marker.is_touched()
    assert said == []


def test_no_marker(said: list[str]) -> None:
    assert not Marker("", said.append).is_touched()


def test_only_a_regular_file_counts(tmp_path: Path, said: list[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    marker = Marker(str(tmp_path / "fifo"), said.append)
    for _ in range(3):
        assert not marker.is_touched()
    assert len(said) == 1 and "regular file" in said[0]


def test_a_link_of_this_user_is_followed(
    tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    touch(tmp_path / "real/marker", 1000)
    assert Marker(str(tmp_path / "link/marker"), said.append).is_touched()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a link to another user")
def test_a_link_of_another_user_is_not_followed(
    tmp_path: Path, said: list[str]
) -> None:
    touch(tmp_path / "elsewhere", 1000)
    link = tmp_path / "marker"
    link.symlink_to("elsewhere")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    marker = Marker(str(link), said.append)
    for _ in range(3):
        assert not marker.is_touched()
    assert len(said) == 1 and str(link) in said[0]
