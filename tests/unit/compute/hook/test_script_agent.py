"""When the hook's script leaves the answer to the agent, in each shell."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gpu_passthrough_plugin.model.hook import AGENT_SOCKET
from tests.unit.compute.hook.test_script import START, Installed, shell
from tests.unit.formats.test_host_devices import domain

# Both are fixtures.
__all__ = ["shell"]
# As the system's Python, which asks the agent, and as the product's own.
PYTHON = """\
#!/bin/sh
cd "${0%/*}"
case "$3" in
-c)
    printf '%s\\n' "$@" >asked
    cat >text
    echo told >&3
    echo noise >&2
    exit "$(cat status)"
    ;;
esac
echo "$GPU_PASSTHROUGH_BEGUN" >begun
"""
END = ("release", "end")


@pytest.fixture
def installed(tmp_path: Path, shell: tuple[str, ...]) -> Installed:
    made = Installed(tmp_path, shell)
    made.python.write_text(PYTHON)
    place = made._quoted(made.folder / "agent.sock")
    text = made.program.read_text()
    made.program.write_text(
        text.replace(f"AGENT={AGENT_SOCKET}\n", f"AGENT='{place}'\n")
    )
    return made


def listen(installed: Installed) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(installed.folder / "agent.sock"))


@pytest.mark.parametrize(
    ("status", "step", "ended"),
    [(70, START, 0), (71, START, 1), (70, END, 0)],
)
def test_what_the_agent_answered_is_the_answer(
    installed: Installed, status: int, step: tuple[str, str], ended: int
) -> None:
    listen(installed)
    (installed.folder / "status").write_text(f"{status}")
    done = installed.call(domain(), *step)
    assert (done.returncode, done.stderr) == (ended, b"told\n")
    assert not (installed.folder / "begun").exists()
    asked = (installed.folder / "asked").read_text().splitlines()
    assert asked[:3] == ["-I", "-S", "-c"]
    assert asked[-6:] == ["/etc/a b", "--", "g", *step, "-"]
    assert (installed.folder / "text").read_text() == domain() + "\n"


@pytest.mark.parametrize("status", [0, 1, 2, 72, 127])
def test_what_is_no_answer_is_worked_out_here(
    installed: Installed, status: int
) -> None:
    listen(installed)
    (installed.folder / "status").write_text(f"{status}")
    done = installed.call(domain())
    assert done.returncode == 0
    # With how long libvirt waited already.
    assert float((installed.folder / "begun").read_text()) > 0


def test_without_an_agent_nobody_is_asked(installed: Installed) -> None:
    assert installed.call(domain()).returncode == 0
    assert (installed.folder / "begun").read_text() == "\n"
    assert not (installed.folder / "asked").exists()


def test_a_guest_without_functions_is_none_of_the_agents(
    installed: Installed,
) -> None:
    listen(installed)
    assert installed.call(domain("")).returncode == 0
    assert not (installed.folder / "asked").exists()
