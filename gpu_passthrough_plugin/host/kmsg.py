"""How the running kernel's log is read."""

from __future__ import annotations

import errno
import os

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
