"""How the libvirt hook reports, detaches a release, and was installed."""

from __future__ import annotations

import contextlib
import os
import sys
import syslog
import traceback
from collections.abc import Callable, Iterable, Sequence

from gpu_passthrough_plugin.host import hook_client
from gpu_passthrough_plugin.model.reading import printable

# Source: sd_booted(3).
_BOOTED = "/run/systemd/system"
_SYSTEMD_RUN = "/usr/bin/systemd-run"


def write_error(line: bytes) -> None:
    """Write to standard error, where that is possible."""
    with contextlib.suppress(OSError):
        # What stays in a buffer makes Python fail when it ends.
        os.write(2, line)


def complain(
    lines: Iterable[str],
    *,
    is_final: bool,
    write: Callable[[bytes], None] = write_error,
) -> None:
    """Print faults, a line each, and write them to the system's log.

    :param is_final: whether the hook fails, so that libvirt reports these
        lines itself; they are not written to the log then.
    :param write: writes a line to where libvirt reads it.
    """
    for line in lines:
        text = f"gpu-passthrough: {printable(' '.join(line.split()))}"
        if not is_final:
            syslog.syslog(syslog.LOG_DAEMON | syslog.LOG_WARNING, text)
        write(f"{text}\n".encode())


def detached(
    argv: Sequence[str], otherwise: Callable[[], object], *, log: str
) -> None:
    """Start a command that outlives the hook, and return at once.

    Where systemd runs the host, it runs the command, so that the output is
    in its journal; elsewhere a child of the hook does.  libvirt waits until
    every process has closed the hook's pipes.

    :param otherwise: does the same in this process, where systemd cannot
        run the command: a confined libvirt denies the hook other programs.
    :param log: file that the child then writes to.
    """
    if os.fork():
        return
    # In every case, only one process returns to the caller.
    try:
        os.setsid()
        _release_pipes(log)
        if not _is_run_by_systemd(argv):
            otherwise()
    except BaseException:  # noqa: BLE001 - logged; there is no caller
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _release_pipes(log: str) -> None:
    """Close every file that the hook inherited."""
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
    # Not for a hook that starts nothing: it imports subprocess.
    from gpu_passthrough_plugin.host.commands import environment

    status = os.spawnve(  # noqa: S606 - a fixed program and its arguments
        os.P_WAIT, _SYSTEMD_RUN, command, environment()
    )
    return status == 0


# What ``tools/setup.sh`` puts into the environments that it makes.
_QUICKSTART = (".made", ".package")


def is_made_by_quickstart(prefix: str) -> bool:
    """Return whether quickstart.sh or run-tests.sh made an environment."""
    return all(os.path.exists(f"{prefix}/{name}") for name in _QUICKSTART)


def caches() -> tuple[str, ...]:
    """Return the folders that are caches by the caller's environment."""
    names = ("XDG_CACHE_HOME", "GPU_PASSTHROUGH_CACHE")
    folders = (os.environ.get(name, "") for name in names)
    return tuple(os.path.abspath(f) for f in folders if os.path.isabs(f))


def client_text() -> str:
    """Return the text of the program that asks the agent."""
    with open(hook_client.__file__, encoding="utf-8") as file:
        return file.read()
