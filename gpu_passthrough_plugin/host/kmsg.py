"""How the running kernel's log is read, and the log of a guest in a file."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import budget
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

PATH = "/dev/kmsg"
# One record at most.  Source: kernel, include/linux/printk.h
# (PRINTK_MESSAGE_MAX).
_RECORD_BYTES = 64 << 10
# A bound for a log that grows while it is read.
_MAX_BYTES = 64 << 20


def text(path: str = PATH) -> str | Unknown:
    """Return this boot's records in the form of /dev/kmsg, oldest first.

    Records that the kernel has overwritten are missing.
    """
    try:
        device = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return Unknown(Why.UNREADABLE, error.strerror or str(error))
    try:
        return _records(device).decode("utf-8", "replace")
    except OSError as error:
        return Unknown(Why.UNREADABLE, error.strerror or str(error))
    finally:
        os.close(device)


def guest_text(path: str) -> str:
    """Return the beginning of a guest's log.

    Windows exports UTF-16, everything else UTF-8.

    :param path: ``-`` for standard input.
    :raises ReadFailed: when it cannot be read.
    """
    try:
        with (
            contextlib.nullcontext(sys.stdin.buffer)
            if path == "-"
            else open(path, "rb")
        ) as file:
            data = file.read(budget.MAX_LOG_BYTES)
    except OSError as error:
        raise errors.ReadFailed(
            f"{path}: {error.strerror}; expected a guest's log, such as what"
            " 'dmesg' prints there"
        ) from error
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig", errors="replace")


def _records(device: int) -> bytes:
    """Read records, one a call, until the next read would block."""
    records: list[bytes] = []
    size = 0
    while size < _MAX_BYTES:
        try:
            record = os.read(device, _RECORD_BYTES)
        except BlockingIOError:
            break
        except OSError as error:
            # The kernel has overwritten the next record, and skips it.
            if error.errno == errno.EPIPE:
                continue
            raise
        if not record:
            break
        records.append(record)
        size += len(record)
    return b"".join(records)
