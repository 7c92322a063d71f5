"""What the agent prints of its passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent.finding import Act, Case, Finding
from gpu_passthrough_plugin.cli import agent_service
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.flow.agent import Outcome, Result
from tests.imports import imported_with

GONE = Finding(
    Case.GUEST_GONE, "5f0c2d3e", "libvirt has no such domain", Act.RELEASE
)
LEFT = Finding(
    Case.QUARANTINED,
    "h/0000:06:00.0",
    "it does not respond",
    remedy="check the device",
)


def test_a_line_says_what_was_found_and_done() -> None:
    assert agent_service.line(Outcome(GONE, Result.DONE)) == (
        "guest-gone: 5f0c2d3e: libvirt has no such domain (release: done)"
    )
    assert agent_service.line(Outcome(GONE, Result.FAILED, "no lock")) == (
        "guest-gone: 5f0c2d3e: libvirt has no such domain; no lock (release:"
        " failed)"
    )
    assert agent_service.line(Outcome(LEFT, Result.LEFT)) == (
        "quarantined: h/0000:06:00.0: it does not respond; check the device"
    )


def test_only_what_is_new_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    passes = agent_service.Passes(())
    for lines in (["one"], ["one", "two"], ["two"], [], ["two"]):
        passes.tell(lines)
    assert capsys.readouterr().err.splitlines() == ["one", "two", "two"]


def test_a_configuration_that_cannot_be_read_is_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("libvirt")
    passes = agent_service.Passes(("/nowhere/gpu-passthrough.conf",))
    seconds = {passes.run(), passes.run()}
    assert len(seconds) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "/nowhere/gpu-passthrough.conf" in line


def test_what_takes_much_memory_is_left_out() -> None:
    heavy = {"cliff", "prettytable", "prometheus_client", "pyudev", "tooz"}
    assert not heavy & imported_with(agent_service.__name__)


def test_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert agent_service.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("gpu-passthrough-agent ")
    with pytest.raises(SystemExit) as caught:
        agent_service.run(["--nosuch"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--nosuch" in line


PLACEMENT = """
[placement]
auth_type = none
endpoint = http://127.0.0.1:9
"""


def recycled(
    tmp_path: Path, cache: agent_service.RecyclingCache, text: str
) -> object:
    path = tmp_path / "gpu-passthrough.conf"
    path.write_text(text)
    return cache.recycling(Context("/", None, [str(path)]))


def test_what_recycles_is_kept_while_the_options_stay(tmp_path: Path) -> None:
    cache = agent_service.RecyclingCache()
    on = "[agent]\nrecycle = true\n" + PLACEMENT
    assert recycled(tmp_path, cache, PLACEMENT) is None
    first = recycled(tmp_path, cache, on)
    assert first is not None
    assert recycled(tmp_path, cache, on) is first
    other = recycled(tmp_path, cache, "[DEFAULT]\nhost = a\n" + on)
    assert other is not None and other is not first
    assert recycled(tmp_path, cache, PLACEMENT) is None


def test_recycling_needs_placement(tmp_path: Path) -> None:
    cache = agent_service.RecyclingCache()
    with pytest.raises(errors.Faults) as caught:
        recycled(tmp_path, cache, "[agent]\nrecycle = true\n")
    assert "[agent] recycle" in str(caught.value)
