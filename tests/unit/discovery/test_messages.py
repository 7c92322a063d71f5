"""Errors of discovery, in one golden file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import functions, recorded_tree
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.formats import umockdev
from tests.golden import assert_golden, sections
from tests.trees import recordings
from tests.trees.hosts import HOSTS


def _with_name(name: str) -> RecordedTree:
    return RecordedTree({}, {f"{functions.DEVICES}/{name}": "x"}, title="T")


def _orphaned() -> bytes:
    return umockdev.printed(
        device
        for device in HOSTS["seed"]().devices()[1:]
        if not device.path.endswith("/0000:00:02.0")
    )


def _cut() -> bytes:
    text = recordings.path("seed").read_bytes()
    return b"\n\n".join(text.split(b"\n\n")[:9]) + b"\n\n"


CASES: dict[str, Callable[[], object]] = {
    "no PCI bus": lambda: functions.functions(RecordedTree({}, {}, title="T")),
    "a strange name": lambda: functions.functions(_with_name("06:00.0")),
    "no root": lambda: HostTree("/nonexistent/root"),
    "no recording": lambda: recorded_tree.load("/nonexistent/file"),
    "a missing parent": lambda: recorded_tree.parse(_orphaned(), "T"),
    "a cut between devices": lambda: recorded_tree.parse(_cut(), "T"),
}


def test_messages() -> None:
    messages = {}
    for name, case in CASES.items():
        with pytest.raises(errors.Error) as caught:
            case()
        messages[name] = str(caught.value)
    assert_golden(Path(__file__).with_name("messages.txt"), sections(messages))
