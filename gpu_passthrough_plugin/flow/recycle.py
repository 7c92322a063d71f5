"""Clean the devices that Nova reserved for one use, and give them back."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import (
    guest_functions,
    instance_sources,
    unit_cleaning,
)
from gpu_passthrough_plugin.flow.context import HostContext, why_busy
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.one_time_use import (
    PciProviders,
    Recycled,
    RecycleResult,
)
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import State, Unit, UnitKey
from gpu_passthrough_plugin.nova import recycling
from gpu_passthrough_plugin.nova.recycling import Waiting

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor


def recycle(
    context: HostContext,
    providers: PciProviders,
    host: str,
    *,
    is_dry: bool,
    only: UnitKey | None = None,
) -> tuple[Recycled, ...]:
    """Clean and give back what waits on this host; return what became of it.

    Whatever is in use, may be, or is not clean afterwards stays reserved.

    :param host: Nova's name of this host's hypervisor.
    :param is_dry: whether to change nothing.
    :param only: the unit to recycle; None for all that wait.
    :raises Error: when Placement, the ledger or this host cannot be read.
    """
    recycled: list[Recycled] = []
    with context.lock():
        units = context.units()
        for waiting in recycling.waiting(providers.read(host), units):
            if only is not None and (
                waiting.unit is None or waiting.unit.key != only
            ):
                continue
            recycled += _recycled(context, providers, waiting, is_dry)
    return tuple(recycled)


def _recycled(
    context: HostContext,
    providers: PciProviders,
    waiting: Waiting,
    is_dry: bool,
) -> tuple[Recycled, ...]:
    """Clean and give back the devices of one unit, if nothing uses it."""

    def each(
        result: RecycleResult, detail: str, *, is_unclean: bool = False
    ) -> tuple[Recycled, ...]:
        return tuple(
            Recycled(provider, result, detail, is_unclean)
            for provider in waiting.providers
        )

    unit = waiting.unit
    if unit is None or waiting.why_left:
        return each(RecycleResult.LEFT, waiting.why_left)
    try:
        _require_unused(context, unit)
        if is_dry:
            return each(
                RecycleResult.PLANNED, "to be reset, checked and given back"
            )
        if faults := unit_cleaning.clean(context, unit):
            return each(
                RecycleResult.LEFT,
                f"{'; '.join(faults)}; it stays reserved",
                is_unclean=True,
            )
        for provider in waiting.providers:
            providers.unreserve(provider)
            context.say(f"provider {provider.name} is given back")
    except errors.Error as error:
        return each(RecycleResult.LEFT, f"{error}; it stays reserved")
    return each(RecycleResult.DONE, "reset, checked and given back")


def _require_unused(context: HostContext, unit: Unit) -> None:
    """Raise if anything uses a unit, or may.

    :raises Error: with the reason.
    """
    for record in context.records():
        if record.unit.key == unit.key and record.state is not State.FREE:
            reason = record.consumer or record.reason
            raise errors.Refused(
                f"the ledger has it {record.state} ({reason})"
            )
    functions = {function.address for function in unit.functions}
    context.journal.require_free(functions)
    if busy := why_busy(context, unit):
        raise errors.Refused(busy)
    answer = instance_sources.ask_libvirt(
        context.connect,
        lambda hypervisor: _require_no_guest(hypervisor, functions),
        instance_sources.LIBVIRT_ANSWER_S,
    )
    if isinstance(answer, Unknown):
        raise errors.Refused(answer.detail)


def _require_no_guest(
    hypervisor: Hypervisor, functions: Collection[Address]
) -> None:
    """Raise if a guest runs with one of the functions, or may do so."""
    for domain in hypervisor.domains():
        if domain.is_active:
            guest_functions.require_without(hypervisor, domain.uuid, functions)
