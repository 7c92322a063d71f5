"""What the libvirt hook has to know of its host besides PCI functions."""

from __future__ import annotations

import os
import sys
import syslog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Stamp = tuple[int, int, int] | None


def node() -> str:
    """The name that the system itself has now."""
    return os.uname().nodename


def stamp(path: str) -> Stamp:
    """What tells that a file is not what it was; None for no file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def is_in_journal(state_path: str, uuid: str) -> bool:
    """Whether ``instance boot`` or ``release`` is at that instance.

    :raises OSError: when that cannot be told.
    """
    path = os.path.join(state_path, "instances", f"{uuid}.json")
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def complain(lines: Iterable[str], *, is_final: bool) -> None:
    """Tell what is wrong, in one line each.

    :param is_final: whether libvirt fails by it, and so tells it itself;
        the system's log does otherwise.
    """
    for line in lines:
        text = f"gpu-passthrough: {' '.join(line.split())}"
        if not is_final:
            syslog.syslog(syslog.LOG_DAEMON | syslog.LOG_WARNING, text)
        print(text, file=sys.stderr, flush=True)
