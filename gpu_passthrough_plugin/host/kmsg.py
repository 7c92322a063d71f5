"""The running kernel's log."""

from __future__ import annotations

import errno
import os

from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

PATH = "/dev/kmsg"
# One record at most.  Source: kernel, include/linux/printk.h
# (PRINTK_MESSAGE_MAX).
_RECORD_BYTES = 64 << 10
# A log that grows while it is read comes to an end all the same.
_MAX_BYTES = 64 << 20


def text(path: str = PATH) -> str | Unknown:
    """All that the kernel still has of this boot, oldest record first.

    In the form of /dev/kmsg.  What has been overwritten is left out.
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
    """Each read returns one record, and the last one would wait."""
    found: list[bytes] = []
    size = 0
    while size < _MAX_BYTES:
        try:
            record = os.read(device, _RECORD_BYTES)
        except BlockingIOError:
            break
        except OSError as error:
            # The kernel wrote over what was to come next, and goes on.
            if error.errno == errno.EPIPE:
                continue
            raise
        if not record:
            break
        found.append(record)
        size += len(record)
    return b"".join(found)
