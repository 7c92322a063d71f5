"""What is logged, and where: ``-v``, ``-vv`` and ``--log-file``.

By default only warnings and errors of this product are printed.  ``-v`` adds
what is done to the host and to the ledger, each with its time, and warnings
of libraries; ``-vv`` adds everything.  A log file always has what is done,
and each line that the operator was shown on stderr.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import output
from gpu_passthrough_plugin.model.reading import printable

PRODUCT = "gpu_passthrough_plugin"
# Lines that are on stderr already.
_SHOWN = f"{PRODUCT}.shown"
_TIMED = "%(asctime)s %(levelname)s %(name)s %(message)s"


class _OneLine(logging.Formatter):
    """An error as commands print theirs; other records with their time."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info:
            return super().format(record)
        if record.levelno < logging.WARNING:
            return printable(super().format(record))
        # cliff logs what a command of its own, such as help, fails with.
        error: object = record.msg
        text = record.getMessage()
        if isinstance(error, OSError) and output.is_of_stdout(error):
            text = output.unexpected_text(error)
        text = printable(" ".join(text.split()))
        kind = "" if record.levelno >= logging.ERROR else "warning: "
        return f"gpu-passthrough: {kind}{text}"


class _File(logging.Formatter):
    """A line each; what others wrote can neither end it nor colour it."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.exc_info else printable(text)


class _LogFile(logging.FileHandler):
    """A file whose failures are told in one line, and once.

    logging would print a traceback for each record.
    """

    _has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not self._has_failed:
            self._has_failed = True
            why = getattr(error, "strerror", None) or error
            output.print_error(
                f"warning: cannot write --log-file {self.baseFilename}: {why}"
            )


def configure(stderr: TextIO, verbosity: int, log_file: str | None) -> None:
    """Send log records to stderr and to a file.

    :param verbosity: 0, 1 for ``-v``, 2 or more for ``-vv`` or ``--debug``.
    :raises Invalid: when the file cannot be written.
    """
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    console = logging.StreamHandler(stderr)
    console.setFormatter(_OneLine(_TIMED))
    console.addFilter(lambda record: _is_for_terminal(record, verbosity))
    root.addHandler(console)
    if log_file is None:
        return
    try:
        file = _LogFile(log_file, encoding="utf-8")
    except OSError as error:
        raise errors.Invalid(
            f"cannot write --log-file {log_file or repr('')}: {error.strerror}"
        ) from error
    file.setFormatter(_File(_TIMED))
    file.addFilter(lambda record: _is_for_file(record, verbosity))
    root.addHandler(file)
    shown = logging.getLogger(_SHOWN)

    def note(line: str, is_error: bool) -> None:
        shown.log(logging.ERROR if is_error else logging.INFO, "%s", line)

    output.on_shown(note)


def _is_for_terminal(record: logging.LogRecord, verbosity: int) -> bool:
    if record.name == _SHOWN:
        return False
    if _is_ours(record):
        least = (logging.WARNING, logging.INFO)
    else:
        least = (logging.CRITICAL, logging.WARNING)
    return verbosity >= len(least) or record.levelno >= least[verbosity]


def _is_for_file(record: logging.LogRecord, verbosity: int) -> bool:
    least = logging.INFO if _is_ours(record) else logging.WARNING
    return verbosity > 1 or record.levelno >= least


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == PRODUCT
