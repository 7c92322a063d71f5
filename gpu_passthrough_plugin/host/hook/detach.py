"""A command that goes on when the hook that began it has ended."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Source: sd_booted(3).
_BOOTED = "/run/systemd/system"
_SYSTEMD_RUN = "/usr/bin/systemd-run"


def detached(
    argv: Sequence[str], otherwise: Callable[[], object], *, log: str
) -> None:
    """Return at once; the command runs on its own.

    By systemd where that runs the host, so that it is nobody's child and
    its words are in the journal; in a process of its own otherwise.
    libvirt waits until nobody has the hook's pipes any more.

    :param otherwise: does the same in this program, where systemd does
        not; a confined libvirt lets the hook start no other one.
    :param log: file that it then writes to.
    """
    if os.fork():
        return
    # Whatever happens, only one process returns to the caller.
    try:
        os.setsid()
        _take_leave(log)
        if not _is_run_by_systemd(argv):
            otherwise()
    except BaseException:  # noqa: BLE001 - told, and nobody is left to ask
        import traceback

        traceback.print_exc()
    finally:
        os._exit(0)


def _take_leave(log: str) -> None:
    """Let go of everything that the hook was given."""
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    said = os.open(log, flags, 0o600)
    for handle, number in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(handle, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _is_run_by_systemd(argv: Sequence[str]) -> bool:
    if not (os.path.isdir(_BOOTED) and os.access(_SYSTEMD_RUN, os.X_OK)):
        return False
    command = (
        *(_SYSTEMD_RUN, "--no-block", "--collect", "--quiet"),
        "--description=give back what a guest had",
        "--property=SyslogIdentifier=gpu-passthrough",
        *argv,
    )
    done = os.spawnv(  # noqa: S606 - a fixed program and its arguments
        os.P_WAIT, _SYSTEMD_RUN, command
    )
    return done == 0
