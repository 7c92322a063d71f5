"""Clean the devices that Nova reserved for one use, and give them back."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import instance_sources, teardown
from gpu_passthrough_plugin.flow.context import HostContext, why_busy
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import host_functions
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.one_time_use import (
    PciProviders,
    Recycled,
    RecycleResult,
)
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import State, Unit
from gpu_passthrough_plugin.nova import recycling
from gpu_passthrough_plugin.nova.recycling import Waiting

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor


def recycle(
    context: HostContext, providers: PciProviders, host: str, *, is_dry: bool
) -> tuple[Recycled, ...]:
    """Clean and give back what waits on this host; return what became of it.

    Whatever is in use, may be, or is not clean afterwards stays reserved.

    :param host: Nova's name of this host's hypervisor.
    :param is_dry: whether to change nothing.
    :raises Error: when Placement, the ledger or this host cannot be read.
    """
    recycled: list[Recycled] = []
    with context.lock():
        units = context.units()
        for waiting in recycling.waiting(providers.read(host), units):
            result, detail = _outcome(context, providers, waiting, is_dry)
            recycled += (
                Recycled(provider, result, detail)
                for provider in waiting.providers
            )
    return tuple(recycled)


def _outcome(
    context: HostContext,
    providers: PciProviders,
    waiting: Waiting,
    is_dry: bool,
) -> tuple[RecycleResult, str]:
    """Clean and give back the devices of one unit, if nothing uses it."""
    unit = waiting.unit
    if unit is None or waiting.why_left:
        return RecycleResult.LEFT, waiting.why_left
    try:
        reasons = [_why_in_use(context, unit)]
        if not any(reasons) and is_dry:
            return RecycleResult.PLANNED, "to be reset, checked and given back"
        if not any(reasons):
            reasons = [*teardown.clean(context, unit)]
        if not any(reasons):
            for provider in waiting.providers:
                providers.unreserve(provider)
                context.say(f"provider {provider.name} is given back")
            return RecycleResult.DONE, "reset, checked and given back"
    except errors.Error as error:
        reasons = [str(error)]
    return RecycleResult.LEFT, f"{'; '.join(reasons)}; it stays reserved"


def _why_in_use(context: HostContext, unit: Unit) -> str:
    """Return why a unit is, or may be, in use; "" for an idle one."""
    for record in context.records():
        if record.unit.key == unit.key and record.state is not State.FREE:
            reason = record.consumer or record.reason
            return f"the ledger has it {record.state} ({reason})"
    busy = why_busy(context, unit)
    if busy:
        return busy
    functions = {function.address for function in unit.functions}
    for instance in context.journal.instances():
        bound = {rebind.address for rebind in instance.rebinds}
        if (
            instance.phase is not Phase.QUARANTINED
            and not functions.isdisjoint(bound)
        ):
            return f"instance {instance.uuid} of 'instance boot' has it"
    answer = instance_sources.ask_libvirt(
        context.connect,
        lambda hypervisor: _user(hypervisor, functions),
        instance_sources.LIBVIRT_ANSWER_S,
    )
    if isinstance(answer, Unknown):
        return f"whether a guest uses it is unknown ({answer.detail})"
    return answer


def _user(hypervisor: Hypervisor, functions: Collection[object]) -> str:
    """Return which running guest has one of the functions; "" for none."""
    for domain in hypervisor.domains():
        xml = hypervisor.live_xml(domain.uuid) if domain.is_active else None
        if xml is None:
            continue
        try:
            root = domain_xml.tree(xml.encode(), domain.uuid).getroot()
        except errors.Invalid as error:
            return f"whether guest {domain.name!r} uses it is unknown: {error}"
        taken = host_functions(root)
        if taken.unreadable:
            return f"guest {domain.name!r} may have it: {taken.doubts}"
        if not set(functions).isdisjoint(taken.addresses):
            return f"guest {domain.name!r} ({domain.uuid}) runs with it"
    return ""
