"""What a host depends on, as ``host check`` looks at it: a row each."""

from __future__ import annotations

import os

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.flow.verification import Dependency
from gpu_passthrough_plugin.model.hook import AGENT_SOCKET


def of_host(context: Context) -> tuple[Dependency, ...]:
    """Return what the host depends on; nothing for a host elsewhere."""
    if not context.is_here:
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
        *hook(),
        *_agent(context),
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
    """Return the agent as a dependency, where it has run on this host."""
    from gpu_passthrough_plugin.host import hook_socket, local_lock

    path = agent_lock(context.state_path)
    if not os.path.exists(path):
        return ()

    def check() -> str:
        if not local_lock.is_held(path):
            raise errors.Unavailable("gpu-passthrough-agent does not run")
        hook_socket.check(AGENT_SOCKET)
        return f"{local_lock.owner(path)}, answers the hook at {AGENT_SOCKET}"

    return (
        Dependency(
            "agent",
            check,
            "run 'systemctl restart gpu-passthrough-agent'; without it, run"
            " 'gpu-passthrough agent reconcile' after a guest ended by itself",
        ),
    )


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
