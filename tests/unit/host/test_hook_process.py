from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import hook_process


@pytest.mark.parametrize("result", [True, False])
def test_a_childs_result_is_returned(result: bool) -> None:
    here = os.getpid()
    assert hook_process.within(20, lambda: result, "late") is result
    assert hook_process.within(20, lambda: os.getpid() != here, "late")


def fail(error: Exception) -> bool:
    raise error


class OfALedger(errors.Unavailable):
    """As a ledger's driver has its own."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OfALedger("malformed answer"), errors.Unavailable),
        (errors.Refused("no 'x' \N{EN DASH} never"), errors.Refused),
        (errors.Conflict("raced"), errors.Conflict),
        (errors.Faults(("one", "two")), errors.Invalid),
        (KeyError("a\nb"), errors.Unavailable),
    ],
)
def test_a_childs_error_is_raised(
    error: Exception, kind: type[errors.Error]
) -> None:
    with pytest.raises(kind) as caught:
        hook_process.within(20, lambda: fail(error), "late")
    assert type(caught.value) is kind
    assert len(str(caught.value).splitlines()) == 1
    if isinstance(error, errors.Error):
        assert str(caught.value) == str(error)


def test_a_long_error_keeps_its_kind() -> None:
    error = errors.Refused("x" * 70_000)
    with pytest.raises(errors.Refused, match=r"^x+$"):
        hook_process.within(20, lambda: fail(error), "late")


def test_a_child_ends_with_the_hook(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from gpu_passthrough_plugin.host import hook_process\n"
        "def work():\n"
        "    print('begun', file=open(sys.argv[1] + '/begun', 'w'))\n"
        "    time.sleep(1)\n"
        "    open(sys.argv[1] + '/done', 'w')\n"
        "    return True\n"
        "hook_process.within(20, work, 'late')\n"
    )
    with subprocess.Popen((sys.executable, "-c", code, str(tmp_path))) as hook:
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        hook.kill()
    time.sleep(1.5)
    assert not (tmp_path / "done").exists()


def die() -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True


def test_a_child_that_dies_is_told() -> None:
    with pytest.raises(errors.Unavailable, match="died"):
        hook_process.within(20, die, "late")


def stall(folder: Path) -> bool:
    """Ignore whatever can be ignored."""
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
    time.sleep(1)
    (folder / "late").touch()
    return True


def test_a_child_that_is_late_does_no_more(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(errors.Unavailable, match="too late"):
        hook_process.within(0.3, lambda: stall(tmp_path), "too late")
    assert time.monotonic() - begun < 0.9
    time.sleep(1)
    assert not (tmp_path / "late").exists()


def test_the_caller_need_not_wait_for_a_child() -> None:
    """What it waits for, the end of the pipes, comes with the hook's own."""
    code = (
        "import contextlib, time\n"
        "from gpu_passthrough_plugin import errors\n"
        "from gpu_passthrough_plugin.host import hook_process as p\n"
        "p._end = lambda child: None\n"
        "with contextlib.suppress(errors.Unavailable):\n"
        "    p.within(0.2, lambda: time.sleep(20), 'late')\n"
        "print('over', flush=True)\n"
    )
    begun = time.monotonic()
    done = subprocess.run(
        (sys.executable, "-c", code),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "over\n"
    assert time.monotonic() - begun < 15


def test_who_called_is_compared() -> None:
    code = (
        "import os\n"
        "from gpu_passthrough_plugin import errors\n"
        "from gpu_passthrough_plugin.host.hook_process import Caller\n"
        "Caller(os.getppid(), os.getpid()).require()\n"
        "for other in ((1 << 30, os.getpid()), (os.getppid(), 1 << 30)):\n"
        "    try: Caller(*other).require()\n"
        "    except errors.Refused as error: print(error)\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", code),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 2


def test_it_ends_with_its_caller() -> None:
    code = (
        "import os, sys, time\n"
        "from gpu_passthrough_plugin.host.hook_process import Caller\n"
        "Caller(os.getppid(), os.getpid()).end_with_it()\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    shell = f'"{sys.executable}" -c "$1" & wait'
    with subprocess.Popen(
        ("sh", "-c", shell, "sh", code), stdout=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        caller.kill()
        until = time.monotonic() + 10
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
            time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}")


def test_the_kernel_ends_what_never_ends() -> None:
    code = (
        "import time\n"
        "from gpu_passthrough_plugin.host import hook_process\n"
        "hook_process.kill_after(1)\n"
        "while True: time.sleep(1)\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), timeout=20, check=False
    )
    assert done.returncode == -signal.SIGALRM
