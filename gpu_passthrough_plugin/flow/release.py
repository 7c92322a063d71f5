"""Release an instance, or withdraw a claim that no instance uses."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import teardown
from gpu_passthrough_plugin.flow.context import HostContext, require_here
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.unit import State, UnitRecord

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor


def release(context: HostContext, uuid: str) -> tuple[UnitRecord, ...]:
    """Stop an instance, then reset, check and free its units; return these.

    Return none when an interrupted release had freed them all.

    :raises Refused: when the instance holds nothing, or is on another host.
    """
    with locked_and_recovered(context, except_uuid=uuid):
        allocation = _allocation(context, uuid)
        if allocation:
            require_here(context, allocation.host, f"instance {uuid}")
        instance = context.journal.read(uuid)
        units = allocation.units if allocation else ()
        with context.connect() as hypervisor:
            if instance is None and teardown.is_without(
                hypervisor, uuid, units
            ):
                teardown.quarantine_unused(context, uuid, units)
            else:
                _give_back(context, hypervisor, uuid, instance)
        return tuple(context.ledger.unit(r.unit.key) for r in units)


def _give_back(
    context: HostContext,
    hypervisor: Hypervisor,
    uuid: str,
    instance: Instance | None,
) -> None:
    """Stop an instance and release what it has.

    :param instance: as the journal has it; None if it does not.
    """
    if instance is None:
        instance = Instance(uuid)
        context.say(
            f"instance {uuid} is not in the journal: the former drivers of"
            " its functions are unknown, so they stay on vfio-pci"
        )
    teardown.give_back(
        context,
        hypervisor,
        dataclasses.replace(instance, keeps_claim=False),
        stop_timeout_s=context.stop_timeout_s,
        restores_drivers=context.restores_drivers,
    )


def _allocation(context: HostContext, uuid: str) -> Allocation | None:
    """Return what an instance holds; None when its release freed it all."""
    try:
        return context.ledger.allocation(uuid)
    except errors.Refused as error:
        instance = context.journal.read(uuid)
        if instance is None:
            raise
        if instance.phase is Phase.RELEASING:
            return None
        raise errors.Refused(
            f"instance {uuid} is missing in the ledger, and this host's"
            f" journal has it as {instance.phase}; restore the ledger, or stop"
            f" the guest and move {uuid}.json out of the folder 'instances' in"
            " [DEFAULT] state_path"
        ) from error


def withdraw(context: HostContext, uuid: str) -> Allocation:
    """Free what a consumer claimed and no instance uses; return what it was.

    :raises Refused: when the consumer holds nothing, or an instance uses it.
    """
    with locked_and_recovered(context):
        allocation = context.ledger.allocation(uuid)
        busy = [r for r in allocation.units if r.state is not State.CLAIMED]
        if busy:
            raise errors.Refused(
                f"unit {busy[0].unit.key} of {uuid} is {busy[0].state}; run"
                f" 'gpu-passthrough instance release {uuid}' on"
                f" {allocation.host}"
            )
        for record in allocation.units:
            context.ledger.move(record, State.FREE)
        return allocation
