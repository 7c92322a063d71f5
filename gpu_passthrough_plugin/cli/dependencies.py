"""What a host depends on, as ``host check`` looks at it: a row each."""

from __future__ import annotations

import contextlib
import os

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.flow.dependency import Dependency
from gpu_passthrough_plugin.model.hook import AGENT_SOCKET

# Where an operator, or a package, puts the unit.  Source: systemd.unit(5).
_AGENT_UNITS = tuple(
    f"{folder}/systemd/system/gpu-passthrough-agent.service"
    for folder in ("/etc", "/usr/local/lib", "/usr/lib", "/lib")
)
_MAX_RELEASE = 100


def of_host(context: Context) -> tuple[Dependency, ...]:
    """Return what the host depends on; nothing for a host elsewhere."""
    if not context.can_act:
        return ()
    state = Dependency("state", lambda: context.state_path, "")
    try:
        _ = context.state_path
    except errors.Error:
        # None of the others works without it.
        return (state,)
    return (
        state,
        Dependency(
            "libvirt",
            lambda: _check_libvirt(context),
            "start libvirtd, or set [libvirt] connection_uri",
        ),
        Dependency(
            "ledger",
            lambda: _check_ledger(context),
            "run 'gpu-passthrough db sync'; check [allocation] driver, and"
            " [database] or [placement]",
        ),
        Dependency(
            "lock",
            lambda: _check_lock(context),
            "set [coordination] backend_url",
        ),
        *(hook() if context.is_here else ()),
        *(_agent(context) if context.is_here else ()),
    )


def hook() -> tuple[Dependency, ...]:
    """Return libvirt's hook as a dependency, where it is installed."""
    from gpu_passthrough_plugin.flow import hook_install
    from gpu_passthrough_plugin.host.files import Files

    files = Files()
    if not hook_install.is_installed(files):
        return ()
    return (
        Dependency(
            "hook",
            lambda: hook_install.check(files),
            "run 'gpu-passthrough hook install' from an installation that only"
            " root can change",
        ),
    )


def _agent(context: Context) -> tuple[Dependency, ...]:
    """Return the agent as a dependency, where it is installed, or has run."""
    path = agent_lock(context.state_path)
    if not any(map(os.path.exists, (path, *_AGENT_UNITS))):
        return ()
    return (
        Dependency(
            "agent",
            lambda: check_agent(path, AGENT_SOCKET),
            "run 'systemctl restart gpu-passthrough-agent', and 'systemctl"
            " enable' it; without it, run 'gpu-passthrough agent reconcile'"
            " after a guest ended by itself",
        ),
    )


def check_agent(lock: str, address: str) -> str:
    """Return what tells of this host's agent.

    :param lock: the file that it has locked.
    :param address: of its socket.
    :raises Unavailable: when it does not run, is of another release, or does
        not listen.
    """
    from gpu_passthrough_plugin.host import hook_socket, local_lock

    if not local_lock.is_held(lock):
        raise errors.Unavailable("gpu-passthrough-agent does not run")
    running, installed = _noted_release(lock), main.version()
    if running != installed:
        raise errors.Unavailable(
            f"gpu-passthrough-agent runs release {running}, and {installed} is"
            " installed"
        )
    hook_socket.check(address)
    return f"{local_lock.owner(lock)}, answers the hook at {address}"


def note_release(lock: str) -> None:
    """Note which release the agent runs, beside the file that it locked.

    Best effort, for ``host check``.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with contextlib.suppress(OSError):
        handle = os.open(f"{lock}.release", flags | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(main.version())


def _noted_release(lock: str) -> str:
    try:
        with open(f"{lock}.release", encoding="utf-8") as file:
            return file.read(_MAX_RELEASE).strip() or "unknown"
    except (OSError, ValueError):
        # One from before releases were noted.
        return "unknown"


def _check_libvirt(context: Context) -> str:
    with context.connect():
        return context.settings.libvirt.connection_uri


def _check_ledger(context: Context) -> str:
    ledger = context.ledger
    ledger.records(host=context.settings.host)
    return f"{ledger.location} schema {ledger.version()}"


def _check_lock(context: Context) -> str:
    from gpu_passthrough_plugin.formats import url

    context.check_lock()
    return url.redacted(context.settings.coordination.backend_url)


def agent_lock(state_path: str) -> str:
    """Return the file that the agent has locked while it runs."""
    return os.path.join(state_path, "locks", "agent")
