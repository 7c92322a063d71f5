"""What checks and group lists look like on a terminal, host by host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpu_passthrough_plugin.cli import findings, main
from gpu_passthrough_plugin.discovery import recorded_tree
from tests.golden import assert_golden, sections

RECORDINGS = Path(__file__).parents[2] / "recordings"
HOSTS = {
    "an ordinary host": recorded_tree.SEED,
    **{
        name: str(RECORDINGS / f"{name}.umockdev")
        for name in ("firmware-off", "shared-group", "wide-domain")
    },
}
_NOVA = (
    '[pci]\ndevice_spec = {"vendor_id": "10de"}\n'
    'alias = {"name": "a", "vendor_id": "10de", "product_id": "1430",'
    ' "device_type": "type-PF"}\n'
)


@pytest.fixture(autouse=True)
def _nova_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nova.conf").write_text(_NOVA)


COMMANDS = (
    "host check", "host verify", "group list",
    "group list --assignable", "nova check nova.conf --release 34",
)  # fmt: skip


def printed(
    capsys: pytest.CaptureFixture[str], host: str, words: str
) -> tuple[int, str, str]:
    status = main.main(["--recording", host, *words.split()])
    return (status, *capsys.readouterr())


@pytest.mark.parametrize("width", [80, 120])
def test_screens_golden(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line is wider than the terminal but one to copy, or of an error."""
    screens = {}
    for name, host in HOSTS.items():
        for words in COMMANDS:
            call = f"{words} --max-width {width}"
            status, out, err = printed(capsys, host, call)
            screens[f"{name}: {words}"] = f"{out}{err}exit status {status}"
            for line in out.splitlines():
                assert len(line) <= width or line.startswith(" " * 7)
    assert_golden(
        Path(__file__).with_name(f"screens-{width}.txt"), sections(screens)
    )


@pytest.mark.parametrize("words", COMMANDS)
def test_where_there_is_no_terminal_each_text_is_one_line(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for host in HOSTS.values():
        _, whole, _ = printed(capsys, host, words)
        _, narrow, _ = printed(capsys, host, f"{words} --max-width 60")
        assert " ".join(narrow.split()) == " ".join(whole.split())


@pytest.mark.parametrize("words", COMMANDS)
def test_findings_are_objects_for_programs(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for host in HOSTS.values():
        status, out, _ = printed(capsys, host, f"{words} -f json")
        if status == 1 and not out:
            continue  # refused: no function can be on vfio-pci
        for row in json.loads(out):
            for found in row[findings.COLUMN]:
                assert list(found) == [
                    "name", "confidence", "text", "functions", "evidence",
                    "fix",
                ]  # fmt: skip
                commands = (found["fix"] or {}).get("commands", [])
                for command in commands:
                    assert f"'{command}'" in found["fix"]["text"]


@pytest.mark.parametrize("form", ["value", "csv", "table"])
def test_formats_without_objects_have_the_columns_that_they_had(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    host = HOSTS["firmware-off"]
    for words in COMMANDS:
        _, out, _ = printed(capsys, host, f"{words} -f {form}")
        assert findings.COLUMN not in out
    _, out, _ = printed(
        capsys, host, f"host check -f {form} -c Check -c Findings"
    )
    assert "firmware [certain]" in out


@pytest.mark.parametrize(
    "words", [c for c in COMMANDS if not c.startswith("group")]
)
def test_the_first_line_is_a_summary_for_monitoring(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for host in HOSTS.values():
        status, out, err = printed(capsys, host, words)
        if not out:
            assert (status, err.count("\n")) == (1, 1)
            continue
        state = out.splitlines()[0].partition(":")[0]
        assert state in ("OK", "WARN", "FAIL")
        assert status == (state == "FAIL")


def test_addresses_are_compact() -> None:
    assert (
        findings.compact(
            ["0000:82:00.1", "0000:06:00.3", "0000:82:00.0", "0000:06:00.0"]
        )
        == "0000:06:00.0,3 0000:82:00.0-1"
    )
    assert findings.ranges([3, 1, 2, 2, 7]) == "1-3 7"
