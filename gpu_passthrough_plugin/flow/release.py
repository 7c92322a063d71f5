"""The end of an instance, or of a claim that no instance began to use."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import teardown
from gpu_passthrough_plugin.flow.context import HostContext, require_here
from gpu_passthrough_plugin.flow.recovery import quiet
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.unit import State, UnitRecord


def release(context: HostContext, uuid: str) -> tuple[UnitRecord, ...]:
    """The units that an instance held, stopped, reset and checked.

    None, where one that was cut off had freed them all already.

    :raises Refused: when it holds nothing, or not on this host.
    """
    with quiet(context, but=uuid):
        held = _allocation(context, uuid)
        if held:
            require_here(context, held.host, f"instance {uuid}")
        instance = context.journal.read(uuid)
        if instance is None:
            instance = Instance(uuid)
            context.say(
                f"the journal knows nothing of {uuid}: which drivers its"
                " functions had is unknown, so they stay on vfio-pci"
            )
        with context.connect() as hypervisor:
            teardown.give_back(
                context,
                hypervisor,
                dataclasses.replace(instance, keeps_claim=False),
                stop_timeout_s=context.stop_timeout_s,
                restores_drivers=context.restores_drivers,
            )
        units = held.units if held else ()
        return tuple(context.ledger.unit(r.unit.key) for r in units)


def _allocation(context: HostContext, uuid: str) -> Allocation | None:
    """What an instance holds; None where its release had got that far."""
    try:
        return context.ledger.allocation(uuid)
    except errors.Refused as error:
        instance = context.journal.read(uuid)
        if instance is None:
            raise
        if instance.phase is Phase.RELEASING:
            return None
        raise errors.Refused(
            f"the ledger has lost instance {uuid}, which this host's journal"
            f" has as {instance.phase}: put the ledger's file back; or stop"
            f" the guest and take {uuid}.json out of the folder 'instances'"
            " in [DEFAULT] state_path"
        ) from error


def withdraw(context: HostContext, uuid: str) -> Allocation:
    """What a consumer had claimed and not begun to use, free again.

    :raises Refused: when it holds nothing, or an instance has it.
    """
    with quiet(context):
        held = context.ledger.allocation(uuid)
        busy = [r for r in held.units if r.state is not State.CLAIMED]
        if busy:
            raise errors.Refused(
                f"unit {busy[0].unit.key} of {uuid} is {busy[0].state}; run"
                f" 'gpu-passthrough instance release {uuid}' on {held.host}"
            )
        for record in held.units:
            context.ledger.move(record, State.FREE)
        return held
