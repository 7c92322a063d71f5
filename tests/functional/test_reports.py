"""A host in one file, explained on another machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.flow import report
from gpu_passthrough_plugin.flow.verification import BootEvidence
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.host import report_archive
from gpu_passthrough_plugin.model.reading import MISSING
from gpu_passthrough_plugin.model.redaction import Redaction
from tests.trees import installed, seed_logs
from tests.trees.host import Host
from tests.trees.seed import failed, seed


def reported(host: Host, log: str, path: Path) -> Path:
    """A report as ``host report`` writes it on such a host."""
    evidence = BootEvidence(
        kernel_log.parsed(log), None, lambda _, __: MISSING
    )
    path.write_bytes(report.write(host.tree(), evidence, Redaction()).content)
    return path


def verified(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, Any]]]:
    """Status and rows of ``host verify --report``."""
    argv = ["host", "verify", "--report", str(path), "-f", "json"]
    status = main.main(argv)
    return status, json.loads(capsys.readouterr().out)


def test_the_seeds_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reported(seed(), seed_logs.SUCCESS, tmp_path / "ok.tar.zst")
    status, rows = verified(path, capsys)
    assert status == 0
    assert [row["Address"] for row in rows] == [
        f"0000:{card}:00.{n}" for card in ("06", "82", "83") for n in (0, 1)
    ]
    assert {row["Status"] for row in rows} == {"pass"}
    assert {row["IOMMU Group"] for row in rows} == {18, 38, 39}
    assert all(row["Cause"] == [] for row in rows)


def test_the_seeds_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reported(failed(), seed_logs.FAILURE, tmp_path / "bad.tar.zst")
    status, rows = verified(path, capsys)
    assert status == 1
    assert len(rows) == 6
    for row in rows:
        first, second, *_ = row["Cause"]
        assert first["name"] == "firmware-off"
        assert first["confidence"] == "certain"
        assert "VT-d" in first["fix"]
        assert second["name"] == "ids-incomplete"
        assert "10de:0fba" in second["text"]
        assert "ids=10de:1430,10de:0fba" in second["fix"]
        assert row["Fix"][:2] == [first["fix"], second["fix"]]


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_report_cut_short_is_one_line(
    tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reported(seed(), seed_logs.SUCCESS, tmp_path / "cut.tar.zst")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert main.main(["host", "verify", "--report", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "copy it again" in said[0]


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"targets": [{"vendor_id": "x"}]}', "7"]
)
def test_a_report_with_a_strange_part_is_one_line(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {
        report_archive.RECORDING: installed.recorded(seed().tree()),
        report_archive.ENABLEMENT: text.encode(),
    }
    path = tmp_path / "strange.tar.zst"
    path.write_bytes(report_archive.written(parts))
    assert main.main(["host", "verify", "--report", str(path)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "is not valid" in said


def test_a_report_is_written_of_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not known then, such as the log, is left out."""
    recording, path = tmp_path / "host.umockdev", tmp_path / "r.tar.zst"
    host = ["--root", str(seed().write(tmp_path / "root"))]
    assert main.main([*host, "host", "record", str(recording)]) == 0
    argv = ["--recording", str(recording), "host", "report", str(path)]
    assert main.main(argv) == 0
    status, rows = verified(path, capsys)
    assert (status, len(rows)) == (0, 6)


@pytest.mark.parametrize("verb", ["record", "report"])
def test_secrets_stay_home(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is its owner's, and what was hidden is said."""
    host = seed()
    host.file(
        "etc/default/grub",
        'GRUB_CMDLINE_LINUX="rd.iscsi.password=s3cret ip=198.51.100.7"\n',
    )
    path = tmp_path / "host"
    root = str(host.write(tmp_path / "root"))
    assert main.main(["--root", root, "host", verb, str(path)]) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    if verb == "report":
        content = report_archive.read(str(path))[report_archive.RECORDING]
    assert b"rd.iscsi.password=REDACTED" in content
    assert b"s3cret" not in content
    assert b"198.51.100.7" not in content
    err = capsys.readouterr().err
    assert str(path) in err
    assert "passwords and keys (1)" in err


def test_a_guests_log_is_explained_with_its_hosts_facts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reported(seed(), seed_logs.SUCCESS, tmp_path / "ok.tar.zst")
    log = tmp_path / "guest.log"
    argv = ["host", "verify", "--report", str(path), "-f", "json",
            "--guest-log", str(log)]  # fmt: skip
    for text, name in (
        (b"[    4.1] NVRM: BAR1 is 0M @ 0x0 (PCI:0000:00:05.0)\n",
         "guest-no-address-space"),
        ("Code 43\r\n".encode("utf-16"), "guest-code-43"),
        (b"\xff\xfe broken \xff\n", None),
    ):  # fmt: skip
        log.write_bytes(text)
        assert main.main(argv) == 0
        *host, guest = json.loads(capsys.readouterr().out)
        assert len(host) == 6
        assert guest["Address"] == "guest log"
        assert [c["name"] for c in guest["Cause"]] == [name] * bool(name)
        assert ("no message of this log" in guest["Found"]) is (name is None)
    log.unlink()
    assert main.main(argv) == 2
    assert str(log) in capsys.readouterr().err
