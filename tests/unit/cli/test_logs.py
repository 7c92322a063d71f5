"""Which records are printed, and which a log file has."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import logs, output

OURS = "gpu_passthrough_plugin.host.devices"
THEIRS = "keystoneauth.session"


def logged(verbosity: int, path: Path | None = None) -> list[str]:
    """The lines on stderr of what is logged at each level."""
    stderr = io.StringIO()
    logs.configure(stderr, verbosity, None if path is None else str(path))
    for name in (OURS, THEIRS):
        for level in ("debug", "info", "warning", "error"):
            log = logging.getLogger(name)
            getattr(log, level)("%s of %s", level, name.split(".")[0])
    return stderr.getvalue().splitlines()


@pytest.mark.parametrize(("verbosity", "number"), [(0, 2), (1, 5), (2, 8)])
def test_how_much_is_printed(verbosity: int, number: int) -> None:
    lines = logged(verbosity)
    assert len(lines) == number
    assert "gpu-passthrough: error of gpu_passthrough_plugin" in lines
    done = [li for li in lines if "info of gpu_passthrough_plugin" in li]
    assert len(done) == (verbosity > 0)
    assert all(line[:2] == "20" for line in done)


@pytest.mark.parametrize(("verbosity", "number"), [(0, 5), (1, 5), (2, 8)])
def test_a_file_has_what_is_done_with_the_time(
    verbosity: int, number: int, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    logged(verbosity, path)
    lines = path.read_text().splitlines()
    assert len(lines) == number
    assert any("INFO" in li and OURS in li and li[:2] == "20" for li in lines)


def test_a_file_has_what_the_operator_was_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, stderr = tmp_path / "log", io.StringIO()
    logs.configure(stderr, 2, str(path))
    output.say("bound 0000:06:00.0")
    output.print_error("it is refused")
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["bound 0000:06:00.0", "gpu-passthrough: it is refused"]
    bound, refused = path.read_text().splitlines()
    assert "INFO" in bound and bound.endswith("bound 0000:06:00.0")
    assert "ERROR" in refused and refused.endswith("it is refused")
    # Not a second time.
    assert stderr.getvalue() == ""


def test_an_error_that_was_logged_is_one_line() -> None:
    stderr = io.StringIO()
    logs.configure(stderr, 0, None)
    logging.getLogger(OURS).error("two\nlines \x1b")
    assert stderr.getvalue() == "gpu-passthrough: two lines \\x1b\n"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(errors.Invalid, match=f"--log-file {tmp_path}: Is a"):
        logs.configure(io.StringIO(), 0, str(tmp_path))


def test_a_full_disk_is_said_once_and_stops_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(io.StringIO(), 0, "/dev/full")
    for line in ("bound 0000:06:00.0", "started guest"):
        output.say(line)
    warning, *shown = capsys.readouterr().err.splitlines()
    assert "cannot write --log-file /dev/full: No space left" in warning
    assert shown == ["bound 0000:06:00.0", "started guest"]


def test_a_traceback_stays_readable(tmp_path: Path) -> None:
    path, stderr = tmp_path / "log", io.StringIO()
    logs.configure(stderr, 2, str(path))
    try:
        raise ValueError("seldom")
    except ValueError:
        logging.getLogger(THEIRS).exception("failed")
    for text in (stderr.getvalue(), path.read_text()):
        assert text.splitlines()[-1] == "ValueError: seldom"


def test_what_is_done_is_one_printable_line(tmp_path: Path) -> None:
    path, stderr = tmp_path / "log", io.StringIO()
    logs.configure(stderr, 1, str(path))
    logging.getLogger(OURS).info("cordoned: %s", "\x1b]0;x\x07\nfake")
    for text in (stderr.getvalue(), path.read_text()):
        (line,) = text.splitlines()
        assert line.isprintable()
        assert "fake" in line
