"""Complete or undo an attach or a detach, wherever it was interrupted.

No guest is stopped for that, and no unit is freed whose function a guest
still has.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from gpu_passthrough_plugin.flow import definitions, guest_functions
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.teardown import detach_units, give_back
from gpu_passthrough_plugin.model.instance import Instance, Phase

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor


def recover(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    """Complete a detach, and an attach whose definition libvirt has.

    Any other attach is undone.
    """
    if instance.phase is Phase.DETACHING:
        context.say(f"completing the interrupted detach of {instance.uuid}")
        complete_detach(context, hypervisor, instance)
        return
    claimed = {
        f.address
        for r in context.held(instance.uuid)
        for f in r.unit.functions
    }
    defined = definitions.functions(
        definitions.read(hypervisor, instance.uuid)
    )
    if claimed and instance.defined_functions == claimed <= defined:
        context.journal.write(definitions.settled(instance))
        context.say(f"completed the interrupted attach of {instance.uuid}")
        return
    context.say(f"rolling back the interrupted attach of {instance.uuid}")
    undo_attach(context, hypervisor, instance)


def undo_attach(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> tuple[str, ...]:
    """Undo what an attach did; return what was done.

    :raises Refused: when the guest was started with its functions meanwhile.
    """
    done = definitions.remove(hypervisor, instance, instance.defined_functions)
    guest_functions.require_without(
        hypervisor, instance.uuid, instance.defined_functions
    )
    instance = dataclasses.replace(instance, is_stopped=True)
    return (*done, *give_back(context, None, instance))


def complete_detach(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    """Do what is left of a detach, whatever of it was done.

    :param instance: with what it is about in ``detaching``.
    :raises Refused: when its guest was started with one of the functions
        meanwhile.
    """
    held = context.held(instance.uuid)
    leaving = [r for r in held if r.unit.key.address in instance.detaching]
    staying = {
        f.address
        for record in held
        if record not in leaving
        for f in record.unit.functions
    }
    functions = instance.defined_functions - staying
    for line in definitions.remove(hypervisor, instance, functions):
        context.say(line)
    guest_functions.require_without(hypervisor, instance.uuid, functions)
    detach_units(context, instance, leaving)
    if not staying or instance.definition is None:
        context.journal.remove(instance.uuid)
        return
    rest = instance.definition._replace(
        functions=tuple(
            a for a in instance.definition.functions if a in staying
        )
    )
    context.journal.write(
        definitions.settled(dataclasses.replace(instance, definition=rest))
    )
