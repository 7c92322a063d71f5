"""How ``host verify`` prints causes: each once, and whole to programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gpu_passthrough_plugin.cli import findings, main, verified
from gpu_passthrough_plugin.diagnosis.evidence import Cause, Confidence
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.flow import report, verification
from gpu_passthrough_plugin.flow.verification import (
    BootEvidence,
    Verification,
)
from gpu_passthrough_plugin.formats import kernel_log
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import address, selector
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.reading import MISSING
from gpu_passthrough_plugin.model.redaction import Redaction
from tests.golden import assert_golden, sections
from tests.trees import seed_logs
from tests.trees.seed import failed, seed

_POLICY = Policy((selector.parse("class=03*"),))


def evidence(log: str) -> BootEvidence:
    return BootEvidence(kernel_log.parsed(log), None, lambda _, __: MISSING)


def result() -> Verification:
    """The seed's first boot: six functions, none of them ready."""
    return Verification(
        verification.verify_host(
            failed().tree(), _POLICY, evidence(seed_logs.FAILURE)
        )
    )


def test_text_golden() -> None:
    ready = verification.verify_host(
        seed().tree(), _POLICY, evidence(seed_logs.SUCCESS)
    )
    code_43 = Cause("guest-code-43", Confidence.POSSIBLE, "text", "43", "fix")
    surfaces = {
        "failed, 80 columns": verified.text(result(), 80),
        "failed, not a terminal": verified.text(result(), None),
        "ready, a log without causes": verified.text(
            Verification(ready, ()), 80
        ),
        "only a log": verified.text(Verification((), (code_43,), "no"), 80),
    }
    assert_golden(Path(__file__).with_name("verified.txt"), sections(surfaces))


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_nothing_to_copy_is_broken(width: int) -> None:
    lines = list(verified.text(result(), width))
    printed = " ".join(" ".join(lines).split())
    for row in result().findings:
        for cause in row.causes:
            assert findings.masked(cause.text) in findings.masked(printed)
            assert cause.fix in printed
            for quoted in re.findall("'([^']+ [^']+)'", cause.fix):
                assert f"       {quoted}" in lines
    if width == 80:
        assert max(map(len, lines)) <= width


def copied(fix: str) -> list[str]:
    cause = Cause("name", Confidence.LIKELY, "text", "evidence", fix)
    lines = verified.text(Verification((), (cause,)), 80)
    start = " " * 7
    return [
        line.removeprefix(start)
        for line in lines
        if line.startswith(start) and line[7] != " "
    ]


def test_only_whole_lines_are_offered_to_copy() -> None:
    """Not a firmware option, nor a line that modprobe would misread."""
    assert copied("enable 'Above 4G decoding' in the firmware") == []
    fix = (
        "put 'options vfio-pci ids=…' into a file, or run 'gpu-passthrough"
        " host enable'; do not touch the card's 'seat'"
    )
    assert copied(fix) == ["gpu-passthrough host enable"]


def test_one_cause_is_printed_once() -> None:
    lines = list(verified.text(result(), 80))
    assert sum("VT-d is disabled" in line for line in lines) == 1
    assert len(lines) < 45


def function(text: str, *causes: Cause) -> Verified:
    return Verified(
        address.parse(text), "vfio-pci", "none", Status.FAIL, MISSING,
        MISSING, causes,
    )  # fmt: skip


def test_a_cause_is_as_likely_as_where_it_is_most_likely() -> None:
    first = Cause("first", Confidence.LIKELY, "first", "line", "fix")
    both = Cause("both", Confidence.POSSIBLE, "both", "line", "fix")
    certain = Cause("both", Confidence.CERTAIN, "both", "line", "fix")
    lines = list(
        verified.text(
            Verification(
                (
                    function("0000:06:00.0", first, both),
                    function("0000:07:00.0", certain),
                )
            ),
            80,
        )
    )
    assert [li for li in lines if li[:1].isdigit()] == ["1. both", "2. first"]
    assert any("certain; guide: causes, both" in line for line in lines)
    assert sum("evidence" in line for line in lines) == 2


def test_a_guests_log_has_causes_or_a_message() -> None:
    some = Cause("name", Confidence.LIKELY, "text", "line", "fix")
    for causes, found in (((), "no message"), ((some,), "")):
        row = dict(
            zip(verified.COLUMNS, verified.guest_row(causes), strict=True)
        )
        assert row["Found"].human_readable().startswith(found)
        assert bool(row["Found"].human_readable()) is not bool(causes)


def test_a_function_that_is_known_by_nothing() -> None:
    row = Verified(
        address.parse("0000:06:00.0"), "vfio-pci", "gone", Status.FAIL,
        MISSING, MISSING, (),
    )  # fmt: skip
    head, line = verified.text(Verification((row,)), 80)
    assert head.startswith("FAIL: 0 of 1")
    assert "gone (expected vfio-pci)" in line
    assert "group unknown" in line and "reset" not in line


def test_what_is_unknown_is_not_ready() -> None:
    row = Verified(
        address.parse("0000:06:00.0"), "vfio-pci", "unknown", Status.WARN,
        MISSING, MISSING, (),
    )  # fmt: skip
    head = next(verified.text(Verification((row,)), 80))
    assert head.startswith("WARN: 0 of 1")


def printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> str:
    path = tmp_path / "failed.tar.zst"
    content, _ = report.write(
        failed().tree(), evidence(seed_logs.FAILURE), Redaction()
    )
    path.write_bytes(content)
    main.main(["host", "verify", "--report", str(path), *words])
    return capsys.readouterr().out


def test_programs_get_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(printed(tmp_path, capsys, "-f", "json"))
    assert len(rows) == 6
    for row in rows:
        assert row["Fix"] == [cause["fix"] for cause in row["Cause"]]
        for cause in row["Cause"]:
            assert list(cause) == [
                "name", "confidence", "text", "evidence", "fix",
            ]  # fmt: skip


def test_a_table_where_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ("-f", "table"),
        ("-c", "Address", "-c", "Cause"),
        ("--sort-column", "Found"),
    ):
        assert printed(tmp_path, capsys, *words).startswith("+---")
    assert printed(tmp_path, capsys).startswith("FAIL: 0 of 6 functions")
    csv = printed(tmp_path, capsys, "-f", "csv")
    assert csv.count("\n") == 7 and "[certain]" in csv
