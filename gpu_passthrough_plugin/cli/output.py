"""What leaves a command: values in each format, files, errors a line each."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import url
from gpu_passthrough_plugin.model.reading import Unknown, printable, shown

if TYPE_CHECKING:
    from gpu_passthrough_plugin.flow.config_files import ConfigFile
    from gpu_passthrough_plugin.model.change import Write
    from gpu_passthrough_plugin.model.redaction import Redaction

# Formats that have no lists.
FLAT = frozenset({"value", "csv"})
# The name of standard output on the command line.
_STDOUT = "-"


def plain(value: object) -> object:
    """Return a value for JSON and YAML: lists, numbers, null, else text."""
    if isinstance(value, Unknown):
        return shown(value)
    if isinstance(value, tuple):
        return [v if isinstance(v, (int, dict)) else str(v) for v in value]
    return value


def lines(value: object) -> list[str]:
    """Return a value for people, line by line; at least one line."""
    if isinstance(value, tuple):
        return [printable(str(v)) for v in value] or [""]
    return [printable(line) for line in shown(value).split("\n")]


def text(value: object) -> str:
    """Return a value for people as one text, a line for each of several."""
    return "\n".join(lines(value))


def separator(form: str) -> str:
    """Return what is between the values of a list in a flat format.

    In CSV they may be texts, which have commas, and semicolons only before
    a blank.
    """
    return ";" if form == "csv" else ","


def flat(value: object, between: str = ",") -> str:
    """Return a value in one line, several of them with ``between``."""
    if isinstance(value, tuple):
        return printable(between.join(map(str, value)))
    return printable(shown(value))


class PrintableStream:
    """A standard stream that escapes what commands a terminal.

    Results, messages, tracebacks and the log messages of libraries all pass
    through one: names and texts of a host are not trusted.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if not text.replace("\n", "").replace("\t", "").isprintable():
            # The only one that JSON leaves as it is; so it stays JSON.
            text = text.replace("\x7f", "\\u007f")
            text = printable(text, keeps="\n\t")
        return self._stream.write(text)

    def writelines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def escape_standard_streams() -> None:
    """Put a ``PrintableStream`` around stdout and stderr."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, PrintableStream):
            setattr(sys, name, PrintableStream(stream))


_hidden: frozenset[str] = frozenset()


def hide(secrets: frozenset[str]) -> None:
    """Keep passwords out of errors, tracebacks, and what libraries log.

    :param secrets: of the configuration.
    """
    global _hidden
    if not _hidden:
        import logging

        make = logging.getLogRecordFactory()

        def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
            made = make(*args, **kwargs)
            try:
                text = made.getMessage()
            except Exception:  # noqa: BLE001 - a library's, badly formatted
                text = f"{made.msg} {made.args!r}"
                made.msg, made.args = text, ()
            shown = url.hidden(text, _hidden)
            if shown != text:
                made.msg, made.args = shown, ()
            if made.exc_info:
                formatter = logging.Formatter()
                made.exc_text = url.hidden(
                    formatter.formatException(made.exc_info), _hidden
                )
            return made

        logging.setLogRecordFactory(record)
    _hidden |= secrets


def _print_traceback() -> None:
    import traceback

    print(url.hidden(traceback.format_exc(), _hidden), file=sys.stderr)


def run(act: Callable[[], int], *, is_debug: bool = False) -> int:
    """Return what ``act`` returns, or the exit status of its error.

    The error is printed.

    :param is_debug: print the traceback as well.
    """
    try:
        return act()
    except errors.Error as error:
        if is_debug:
            _print_traceback()
        faults = error.faults if isinstance(error, errors.Faults) else ()
        if not faults and os.geteuid() and _is_denied(error):
            faults = (f"{error}; this needs root: run it with sudo",)
        for line in faults or (str(error),):
            print_error(line)
        return error.exit_status
    except BrokenPipeError:
        raise
    except OSError as error:
        if is_debug:
            _print_traceback()
        return print_os_error(error)
    except Exception as error:  # noqa: BLE001 - printed as one line
        if is_debug:
            _print_traceback()
        return _print_unexpected(error)


def _is_denied(error: BaseException | None) -> bool:
    """Return whether an error comes from missing permissions."""
    while error is not None:
        if isinstance(error, PermissionError) or _DENIED.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


# As libraries tell it; the last is SQLite's.
_DENIED = re.compile(
    r"Permission denied|Operation not permitted|readonly database"
)
# What writing to a file or a terminal fails with.  Source: write(2).
_OF_STDOUT = frozenset(
    {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF}
)


def print_os_error(error: OSError) -> int:
    """Print an error that nothing translated; return the exit status.

    Those of files are translated where they are used, so that what is left
    is of stdout or not expected.
    """
    if is_of_stdout(error):
        # What is left in its buffer must not fail again when Python ends.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end
    print_error(unexpected_text(error))
    return 2


def is_of_stdout(error: OSError) -> bool:
    """Return whether writing a result failed."""
    return error.filename is None and error.errno in _OF_STDOUT


def unexpected_text(error: BaseException) -> str:
    """Return an error that nothing translated as one line."""
    if isinstance(error, OSError) and is_of_stdout(error):
        return f"cannot write to stdout: {error.strerror}"
    return f"unexpected error: {type(error).__name__}: {error}"


def _print_unexpected(error: Exception) -> int:
    print_error(unexpected_text(error))
    return 2


_note: Callable[[str, bool], None] | None = None


def on_shown(note: Callable[[str, bool], None]) -> None:
    """Pass each line that goes to stderr to ``note`` too, as for a log file.

    :param note: is given the line, and whether it is an error.
    """
    global _note
    _note = note


def say(line: str) -> None:
    """Print a line for the operator on stderr; results go to stdout.

    A closed stderr interrupts neither an act nor its rollback.
    """
    _show(printable(line, keeps="\t"), "", is_error=False)


def print_error(message: str) -> None:
    """Print an error as one line."""
    line = printable(url.hidden(" ".join(message.split()), _hidden))
    _show(line, "gpu-passthrough: ", is_error=True)


def _show(line: str, start: str, *, is_error: bool) -> None:
    if _note is not None:
        _note(line, is_error)
    with contextlib.suppress(OSError):
        print(f"{start}{line}", file=sys.stderr, flush=True)


# Source: inode(7).
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


# What others, and other programs, would take the file for.
_OTHERS = (
    "7z bz2 csv gz html json log tar tbz tgz txt txz tzst umockdev xml xz yaml"
    " yml zip zst"
)


def require_suffix(path: str, content: str, suffixes: tuple[str, ...]) -> None:
    """Raise if a file's name is one of another format.

    :param content: what the file will be.
    :param suffixes: of names for that; any that names no format is as good.
    """
    suffix = os.path.splitext(path)[1].lower().removeprefix(".")
    if suffix in _OTHERS.split() and not path.lower().endswith(suffixes):
        raise errors.Invalid(
            f"{path} names another format: the file is {content}; use a name"
            f" that ends in {suffixes[0]}"
        )


def require_writable(path: str, *, is_forced: bool) -> None:
    """Raise if ``save`` would replace what must stay.

    :param path: ``-`` for standard output.
    :raises Invalid: when something is there that is not a regular file, or,
        without ``is_forced``, a file that is not empty; when standard output
        is a terminal, which would obey untrusted text.
    """
    if path == _STDOUT:
        if sys.stdout.isatty():
            raise errors.Invalid(
                "standard output is a terminal; redirect it, or give a file's"
                " name"
            )
        return
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise errors.Invalid(
            f"{path} is {kind}; expected the name of a new file, or - for"
            " standard output"
        )
    # mktemp makes an empty one.
    if status.st_size and not is_forced:
        raise errors.Invalid(
            f"{path} exists; give another name, or --force to replace it"
        )


def save(
    path: str,
    content: bytes,
    redaction: Redaction | None = None,
    *,
    is_forced: bool,
) -> str:
    """Write a file for others, completely or not at all; return what it is.

    Only its owner can read it until the operator shares it.

    :param path: ``-`` for standard output.
    :param redaction: what was hidden; None for a file in which nothing is.
    :raises Invalid: as ``require_writable`` does.
    :raises Unavailable: when it cannot be written.
    """
    require_writable(path, is_forced=is_forced)
    if path == _STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        place = f"to standard output ({len(content)} bytes)"
    else:
        place = f"{path} ({len(content)} bytes, mode 0600)"
        if os.path.exists(path):
            place += " in place of an older file"
        _put(path, content)
    hidden = redaction.summary() if redaction else "nothing"
    advice = "read it through before you share it"
    return f"wrote {place}; hidden: {hidden}; {advice}"


def _put(path: str, content: bytes) -> None:
    # Not for a listing.
    from gpu_passthrough_plugin.host.host_path import opened_folder, real_path

    try:
        real = real_path("/", os.path.join(os.getcwd(), path))
        with opened_folder("/", real) as folder:
            _put_into(folder, os.path.basename(real), content)
    except OSError as error:
        raise _unwritable(path, error) from error


def _put_into(folder: int, name: str, content: bytes) -> None:
    new_name = f"{name}.{os.getpid()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        opened = os.open(new_name, flags, 0o600, dir_fd=folder)
        with open(opened, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new_name, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(new_name, dir_fd=folder)


def _unwritable(path: str, error: OSError) -> errors.Unavailable:
    return errors.Unavailable(f"cannot write {path}: {error.strerror}")


def write_folder(
    folder: str, generated: Sequence[ConfigFile]
) -> tuple[Write, ...]:
    """Write generated files to a folder, which is made if missing.

    :raises Invalid: when it is something else.
    """
    from gpu_passthrough_plugin.flow import config_files
    from gpu_passthrough_plugin.host.files import Files

    path, files = os.path.abspath(folder), Files()
    absent = files.missing(os.path.join(path, "x"))
    if not folder or (absent and os.path.lexists(absent[0])):
        what = repr(absent[0] if absent else folder)
        raise errors.Invalid(
            f"-o: {what} is not a directory; give a directory (it is created"
            " if missing)"
        )
    writes = config_files.planned(files, path, generated)
    config_files.put(files, writes)
    return writes
