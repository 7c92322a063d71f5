"""A hook that nobody waits for any more takes nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpu_passthrough_plugin.model.unit import State
from tests.functional.hooked import (
    AUDIO,
    GPU,
    OTHER,
    HookedHost,
    xml,
)

WHOLE = xml(GPU, AUDIO)


@pytest.fixture
def host(tmp_path: Path) -> HookedHost:
    made = HookedHost(tmp_path)
    made.install()
    return made


def test_a_hook_whose_libvirt_died_takes_nothing(host: HookedHost) -> None:
    """It waits for a unit that is free only after libvirt was killed."""
    assert host.call(xml(GPU, AUDIO, uuid=OTHER)).returncode == 0
    given_back_by(host, OTHER, State.RELEASING)
    code = (
        "import subprocess, sys\n"
        "subprocess.run((sys.argv[1], 'guest', 'prepare', 'begin', '-'),"
        " input=sys.argv[2].encode())\n"
    )
    with subprocess.Popen(
        (sys.executable, "-c", code, str(host.program), WHOLE),
        stderr=subprocess.DEVNULL,
    ) as libvirtd:
        until = time.monotonic() + 30
        while not waiting(libvirtd.pid) and time.monotonic() < until:
            time.sleep(0.1)
        hooks = waiting(libvirtd.pid)
        assert hooks
        libvirtd.kill()
    given_back_by(host, OTHER, State.SANITISING, State.FREE)
    time.sleep(2)
    assert host.states()[GPU] == ("free", None)
    assert not any(Path(f"/proc/{pid}").exists() for pid in hooks)


def waiting(pid: int) -> list[int]:
    """The hook that a process called, and its child that asks the ledger."""
    hooks = children(pid)
    inner = [child for hook in hooks for child in children(hook)]
    is_asking = any(
        b"libvirt_hook" in Path(f"/proc/{child}/cmdline").read_bytes()
        for child in inner
    )
    return [*hooks, *inner] if is_asking else []


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def given_back_by(host: HookedHost, uuid: str, *states: State) -> None:
    ledger = host.ledger()
    for record in ledger.allocation(uuid).units:
        for state in states:
            record = ledger.move(record, state)
    ledger.close()


def test_a_hook_that_was_called_by_another_takes_nothing(
    host: HookedHost,
) -> None:
    """libvirt died before Python had started."""
    text = host.program.read_text().replace("=$PPID\n", "=1073741824\n")
    (host.root / "late").write_text(text)
    (host.root / "late").chmod(0o755)
    done = host.call(WHOLE, program=host.root / "late")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert host.states()[GPU] == ("free", None)
    assert host.call(xml(), program=host.root / "late").returncode == 0
