"""A child that does what may never end, and what is known of one that does.

No test can put a process into state D: a child that ignores SIGTERM stands
in for one that ignores SIGKILL.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.host.devices import SysfsDevices
from gpu_passthrough_plugin.host.function_calls import FunctionCalls
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees.host import Host

GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionCalls]:
    """A child for the GPU has not ended, and does not."""
    calls = FunctionCalls(
        str(tmp_path_factory.mktemp("stuck")),
        3,
        ends_with=signal.SIGTERM,
        grace_s=0.1,
    )
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(errors.Unavailable) as caught:
            calls.run(f"reset of {GPU}", (GPU,), lambda: time.sleep(60))
    finally:
        signal.signal(signal.SIGTERM, former)
    (pid,) = calls._left
    for datum in (str(pid), str(GPU), "reboot the host"):
        assert datum in str(caught.value)
    yield calls
    if calls._left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_work_is_done_and_its_errors_are_told(tmp_path: Path) -> None:
    calls = FunctionCalls(str(tmp_path / "calls"))
    done = tmp_path / "done"
    calls.run("work", (GPU,), done.touch)
    assert done.exists()

    def refuse() -> None:
        raise errors.Refused("the kernel said no")

    with pytest.raises(errors.Refused, match="the kernel said no"):
        calls.run("work", (GPU,), refuse)
    with pytest.raises(errors.Unavailable, match="killed"):
        calls.run("work", (GPU,), lambda: os.kill(os.getpid(), 9))
    assert os.listdir(tmp_path / "calls") == []


def test_a_child_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    calls = FunctionCalls(str(tmp_path / "calls"), 0.2)
    with pytest.raises(errors.Unavailable, match=r"0\.2 s.*was killed"):
        calls.run("work", (GPU,), lambda: time.sleep(60))
    FunctionCalls(calls._folder).run("work", (GPU,), lambda: None)


@pytest.mark.parametrize("is_late", [False, True])
def test_what_a_child_started_ends_with_it(
    tmp_path: Path, is_late: bool
) -> None:
    calls = FunctionCalls(str(tmp_path / "calls"), 1 if is_late else 20)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def work() -> None:
        with pipe.open("wb") as output:
            subprocess.Popen(("sleep", "3600"), stdout=output)
        time.sleep(60 if is_late else 0)

    try:
        with pytest.raises(errors.Stuck) if is_late else nullcontext():
            calls.run("work", (GPU,), work)
        until_s = time.monotonic() + 5
        while not is_closed(reader):
            assert time.monotonic() < until_s, "it still runs"
            time.sleep(0.01)
    finally:
        os.close(reader)


def is_closed(reader: int) -> bool:
    """Whether nobody has the other end of a pipe open."""
    try:
        return not os.read(reader, 1)
    except BlockingIOError:
        return False


def test_a_stuck_function_is_not_read(
    stuck: FunctionCalls, tmp_path: Path
) -> None:
    """Whoever reads its config space or override waits with the child."""
    host = Host()
    for place in (GPU, AUDIO):
        host.function(str(place), "10de:1430", "030000", driver="vfio-pci")
    root = str(host.write(tmp_path / "root"))
    devices = SysfsDevices(FunctionCalls(stuck._folder), root)
    (pid,) = stuck._left
    identity = devices.identity(GPU)
    assert isinstance(identity, Unknown)
    assert str(pid) in identity.detail
    assert not isinstance(devices.identity(AUDIO), Unknown)
    with pytest.raises(errors.ReadFailed, match=str(pid)):
        devices.binding(GPU)
    with pytest.raises(errors.Unavailable, match=str(pid)):
        devices.rebind(Rebind(GPU, VFIO, Binding(None, None)))
    tree = HostTree(root, stuck.stuck)
    for function in discovery.functions(tree):
        detail = discovery.detail(tree, function)
        for value in (detail.header, detail.driver_override):
            is_unread = isinstance(value, Unknown) and str(pid) in value.detail
            assert is_unread == (function.address == GPU)


def test_no_second_child_while_the_first_lives(stuck: FunctionCalls) -> None:
    (pid,) = stuck._left
    calls = FunctionCalls(stuck._folder)
    with pytest.raises(errors.Unavailable, match=str(pid)):
        calls.run("unbind", (AUDIO, GPU), lambda: None)
    calls.run("unbind", (AUDIO,), lambda: None)
    assert str(pid) in stuck.stuck(GPU)
    assert stuck.stuck(AUDIO) == ""
    os.kill(pid, signal.SIGKILL)
    while stuck.stuck(GPU):
        time.sleep(0.01)
    calls.run("unbind", (GPU,), lambda: None)
    stuck._reap()
    assert stuck._left == set()


def test_a_child_that_is_not_late_is_not_stuck(tmp_path: Path) -> None:
    """As a reset that another command does just now."""
    calls = FunctionCalls(str(tmp_path), 0.2)
    handle = os.open(tmp_path / str(GPU), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for note in (b"", b"[]", b'{"pid": 7}'):
            os.ftruncate(handle, 0)
            os.pwrite(handle, note, 0)
            assert calls.stuck(GPU) == ""
        later = time.clock_gettime(time.CLOCK_BOOTTIME) + 60
        note = b'{"pid": 7, "title": "reset", "until_s": %d}' % later
        os.pwrite(handle, note, 0)
        assert calls.stuck(GPU) == ""
        with pytest.raises(errors.Unavailable, match="another process"):
            calls.run("work", (GPU,), lambda: None)
    finally:
        os.close(handle)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.Unavailable, match="state_path"):
        FunctionCalls(str(tmp_path / "file/x")).run("w", (GPU,), lambda: None)
