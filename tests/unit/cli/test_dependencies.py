"""What ``host check`` says of the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import dependencies, main
from gpu_passthrough_plugin.host import hook_socket
from gpu_passthrough_plugin.host.local_lock import LocalLock


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[str]:
    """The file that an agent has locked, which noted its release."""
    path = str(tmp_path / "locks/agent")
    with LocalLock(path, "it", timeout_s=0, on_wait=print)():
        dependencies.note_release(path)
        yield path


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "run/agent.sock")


def refusal(lock: str, address: str) -> str:
    with pytest.raises(errors.Unavailable) as caught:
        dependencies.check_agent(lock, address)
    return str(caught.value)


def test_one_that_runs_and_answers(lock: str, address: str) -> None:
    with hook_socket.listening(address):
        assert address in dependencies.check_agent(lock, address)


def test_one_that_does_not_run(tmp_path: Path, address: str) -> None:
    assert "does not run" in refusal(str(tmp_path / "agent"), address)


def test_one_that_does_not_answer(lock: str, address: str) -> None:
    assert address in refusal(lock, address)


@pytest.mark.parametrize("noted", ["0.0.1", "", None])
def test_one_of_an_older_release(
    lock: str, address: str, noted: str | None
) -> None:
    note = Path(f"{lock}.release")
    note.unlink()
    if noted is not None:
        note.write_text(noted)
    with hook_socket.listening(address):
        told = refusal(lock, address)
    assert f"runs release {noted or 'unknown'}," in told
    assert main.version() in told
