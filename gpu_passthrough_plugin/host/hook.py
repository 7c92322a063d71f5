"""What the libvirt hook does on its host: complain, and detach a release."""

from __future__ import annotations

import os
import sys
import syslog
import traceback
from collections.abc import Callable, Iterable, Sequence

# Source: sd_booted(3).
_BOOTED = "/run/systemd/system"
_SYSTEMD_RUN = "/usr/bin/systemd-run"


def complain(lines: Iterable[str], *, is_final: bool) -> None:
    """Print what is wrong, a line each; also to the system's log.

    :param is_final: whether libvirt fails by it: it reports the lines
        itself then, and the log is left out.
    """
    for line in lines:
        text = f"gpu-passthrough: {' '.join(line.split())}"
        if not is_final:
            syslog.syslog(syslog.LOG_DAEMON | syslog.LOG_WARNING, text)
        print(text, file=sys.stderr, flush=True)


def detached(
    argv: Sequence[str], otherwise: Callable[[], object], *, log: str
) -> None:
    """Start a command that outlives the hook, and return at once.

    By systemd where that runs the host, so that its output is in the
    journal; in a process of its own otherwise.  libvirt waits until nobody
    has the hook's pipes any more.

    :param otherwise: does the same in this program, where systemd does
        not: a confined libvirt lets the hook start no other one.
    :param log: file that it then writes to.
    """
    if os.fork():
        return
    # Whatever happens, only one process returns to the caller.
    try:
        os.setsid()
        _release_pipes(log)
        if not _is_run_by_systemd(argv):
            otherwise()
    except BaseException:  # noqa: BLE001 - logged, and nobody is left to ask
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _release_pipes(log: str) -> None:
    """Close everything that the hook was given."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    output = os.open(log, flags, 0o600)
    for handle, number in ((null, 0), (output, 1), (output, 2)):
        os.dup2(handle, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _is_run_by_systemd(argv: Sequence[str]) -> bool:
    if not (os.path.isdir(_BOOTED) and os.access(_SYSTEMD_RUN, os.X_OK)):
        return False
    command = (
        *(_SYSTEMD_RUN, "--no-block", "--collect", "--quiet"),
        "--description=release the units of a guest that ended",
        "--property=SyslogIdentifier=gpu-passthrough",
        *argv,
    )
    status = os.spawnv(  # noqa: S606 - a fixed program and its arguments
        os.P_WAIT, _SYSTEMD_RUN, command
    )
    return status == 0
