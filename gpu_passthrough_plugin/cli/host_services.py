"""What acts on a host's groups, by the configuration: this host's, or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.flow import unit_health
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.host import event_counters
from gpu_passthrough_plugin.host.devices import Devices
from gpu_passthrough_plugin.host.ended_guests import EndedGuests
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.model.sanitising import SanitiseDriver


def host_context(
    context: Context,
    devices: Devices,
    lock: Callable[[], AbstractContextManager[None]],
    require_lock: Callable[[], None],
    sanitiser: SanitiseDriver | None,
) -> HostContext:
    """Return a host with its services, for the flows.

    :param context: of the command; what it reads is the host.
    :param lock: returns a context manager that holds the host's lock.
    :param require_lock: raises when that was lost.
    """
    settings, state = context.settings, context.state_path
    return HostContext(
        host=settings.host,
        tree=context.tree,
        policy=context.policy,
        devices=devices,
        connect=context.connect,
        ledger=context.ledger,
        journal=InstanceJournal(f"{state}/instances", require_lock),
        ended=EndedGuests(f"{state}/ended"),
        lock=lock,
        stop_timeout_s=settings.libvirt.stop_timeout_s,
        reset_timeout_s=settings.release.reset_timeout_s,
        restores_drivers=settings.release.restore_drivers,
        say=say,
        aggregates=settings.allocation.aggregates,
        sanitiser=sanitiser,
        health=unit_health.configured(f"{state}/health", settings),
        count=event_counters.of_host(state).count,
    )
