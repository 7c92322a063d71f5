"""A report, and what could not be read when it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import boot_state, report
from gpu_passthrough_plugin.flow.report import ReportedHost
from gpu_passthrough_plugin.flow.verification import BootEvidence
from gpu_passthrough_plugin.host import report_archive
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from gpu_passthrough_plugin.model.redaction import Redaction
from tests.trees import installed
from tests.trees.seed import seed

DENIED = Unknown(Why.UNREADABLE, "Permission denied")
BROKEN = Unknown(Why.UNREADABLE, "lsinitrd ended with status 1: password=x1")


def read(path: Path, parts: dict[str, bytes]) -> ReportedHost:
    path.write_bytes(report_archive.written(parts))
    return report.read(str(path))


def test_why_something_is_unknown_is_kept(tmp_path: Path) -> None:
    evidence = BootEvidence(DENIED, None, lambda _, __: BROKEN)
    written = report.write(seed().tree(), evidence, Redaction())
    path = tmp_path / "r.tar.zst"
    path.write_bytes(written.content)
    host = report.read(str(path))
    assert host.evidence.log == DENIED
    names = host.evidence.images(
        boot_state.read_installation(host.tree), "3.10"
    )
    assert isinstance(names, Unknown)
    assert (names.why, "lsinitrd" in names.detail) == (Why.UNREADABLE, True)
    assert "x1" not in names.detail
    for notes in (written.notes, host.notes):
        log, image = notes
        assert "kernel log" in log
        assert "Permission denied" in log
        assert "lsinitrd" in image


def test_a_whole_report_has_no_notes(tmp_path: Path) -> None:
    evidence = BootEvidence((), None, lambda _, __: ("vfio",))
    written = report.write(seed().tree(), evidence, Redaction())
    path = tmp_path / "r.tar.zst"
    path.write_bytes(written.content)
    assert (written.notes, report.read(str(path)).notes) == ((), ())


RECORDING = {report_archive.RECORDING: installed.recorded(seed().tree())}


def test_a_report_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    host = read(tmp_path / "r", {**RECORDING, report_archive.LOG: b""})
    assert host.evidence.log == ()
    (note,) = host.notes
    assert str(MISSING) in note


def test_drivers_that_did_not_load_are_named(tmp_path: Path) -> None:
    unread = json.dumps({"drivers": ["x does not load"] * 99}).encode()
    host = read(tmp_path / "r", {**RECORDING, report_archive.UNREAD: unread})
    assert "x does not load" in host.notes[0]
    assert len(host.notes) < 30


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "7",
        '{"log": 1}',
        '{"log": {"why": "x"}}',
        '{"log": {"why": "x", "detail": ""}}',
        '{"drivers": 7}',
        '{"drivers": {"a": 1}}',
    ],
)
def test_malformed_reasons_are_refused(text: str, tmp_path: Path) -> None:
    parts = {**RECORDING, report_archive.UNREAD: text.encode()}
    with pytest.raises(errors.Invalid, match=report_archive.UNREAD):
        read(tmp_path / "r", parts)
