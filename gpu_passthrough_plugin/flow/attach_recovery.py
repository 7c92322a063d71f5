"""Complete or undo an attach or a detach, wherever it was interrupted.

No guest is stopped for that, and no unit is freed whose function a guest
still has.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import attachment
from gpu_passthrough_plugin.flow import definitions, guest_functions
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.teardown import detach_units, give_back
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.unit import State

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor

# libvirt's event for a removed device needs a loop, which no command runs.
_POLL_S = 0.2
# A recovery comes back: other commands are not to wait for a guest.
_RECOVERY_WAIT_S = 1


def recover(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    """Complete what libvirt has whole, and undo the rest.

    :raises Refused: when the guest still has what it is to give up.
    """
    if instance.phase is Phase.DETACHING:
        _recover_detach(context, hypervisor, instance)
        return
    claimed = guest_functions.functions(context.held(instance.uuid))
    if claimed and _is_attached(hypervisor, instance, claimed):
        context.move(instance.uuid, State.PREPARING, State.ACTIVE)
        context.journal.write(definitions.settled(instance))
        context.say(f"completed the interrupted attach of {instance.uuid}")
        return
    context.say(f"rolling back the interrupted attach of {instance.uuid}")
    undo_attach(context, hypervisor, instance)


def _is_attached(
    hypervisor: Hypervisor, instance: Instance, claimed: AbstractSet[Address]
) -> bool:
    """Return whether libvirt has all that an attach was to give."""
    if instance.definition is None and not instance.is_live:
        # It had not come to what it was to give.
        return False
    if instance.definition is not None:
        defined = definitions.functions(
            definitions.read(hypervisor, instance.uuid)
        )
        if not instance.defined_functions == claimed <= defined:
            return False
    if not instance.is_live:
        return True
    present = guest_functions.present(hypervisor, instance.uuid, claimed)
    return present == claimed


def undo_attach(
    context: HostContext,
    hypervisor: Hypervisor,
    instance: Instance,
    wait_s: float = _RECOVERY_WAIT_S,
) -> tuple[str, ...]:
    """Undo what an attach did; return what was done.

    :param wait_s: how long the guest may take to give up what it was given.
    :raises Refused: when it still has a function.
    """
    uuid = instance.uuid
    functions = guest_functions.functions(context.held(uuid))
    functions |= instance.defined_functions
    done = definitions.remove(hypervisor, instance, instance.defined_functions)
    if instance.is_live and instance.was_started:
        unplug(context, hypervisor, uuid, functions, wait_s)
    guest_functions.require_without(hypervisor, uuid, functions)
    instance = dataclasses.replace(instance, is_stopped=True)
    return (*done, *give_back(context, None, instance))


def unplug(
    context: HostContext,
    hypervisor: Hypervisor,
    uuid: str,
    functions: Collection[Address],
    wait_s: float,
) -> None:
    """Have a running guest give up functions.

    Nothing is forced: a guest's operating system may refuse, or not run.

    :param wait_s: how long the guest may take for all of them.
    :raises Refused: with those that it still has.
    """
    had = guest_functions.present(hypervisor, uuid, functions)
    deadline = time.monotonic() + wait_s
    reasons = [
        hypervisor.unplug(uuid, attachment.hostdev_xml(function))
        for function in sorted(had)
    ]
    left = guest_functions.present(hypervisor, uuid, had)
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = guest_functions.present(hypervisor, uuid, had)
    if had - left:
        context.say(f"guest {uuid} gave up {_listed(had - left)}")
    if left:
        why = next(filter(None, reasons), "")
        raise errors.Refused(
            f"guest {uuid} did not give up {_listed(left)} within {wait_s:g} s"
            + (f" (libvirt: {why})" if why else "")
        )


def _recover_detach(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    """Complete a detach, unless the guest has, or has again, a function."""
    uuid = instance.uuid
    left = guest_functions.present(
        hypervisor, uuid, leaving_functions(context, instance)
    )
    if left:
        context.journal.write(definitions.settled(instance))
        context.say(
            f"undone: the interrupted detach of {uuid}, whose guest runs with"
            f" {_listed(left)}"
        )
        return
    context.say(f"completing the interrupted detach of {uuid}")
    complete_detach(context, hypervisor, instance)


def leaving_functions(
    context: HostContext, instance: Instance
) -> frozenset[Address]:
    """Return the functions that a detach takes from a domain."""
    held = context.held(instance.uuid)
    leaving = [r for r in held if r.unit.key.address in instance.detaching]
    staying = [r for r in held if r not in leaving]
    own = instance.defined_functions - guest_functions.functions(staying)
    return frozenset(guest_functions.functions(leaving) | own)


def complete_detach(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    """Do what is left of a detach, whatever of it was done.

    :param instance: with what it is about in ``detaching``.
    :raises Refused: when its guest runs with one of the functions.
    """
    functions = leaving_functions(context, instance)
    guest_functions.require_without(hypervisor, instance.uuid, functions)
    for line in definitions.remove(hypervisor, instance, functions):
        context.say(line)
    held = context.held(instance.uuid)
    leaving = [r for r in held if r.unit.key.address in instance.detaching]
    detach_units(context, instance, leaving)
    if len(leaving) == len(held):
        context.journal.remove(instance.uuid)
    else:
        context.journal.write(_rest(instance, functions))


def _rest(instance: Instance, gone: Collection[Address]) -> Instance:
    """Return an instance without what was detached."""
    definition = instance.definition
    if definition is not None:
        kept = tuple(a for a in definition.functions if a not in gone)
        definition = definition._replace(functions=kept)
    rebinds = tuple(r for r in instance.rebinds if r.address not in gone)
    return definitions.settled(
        dataclasses.replace(instance, definition=definition, rebinds=rebinds)
    )


def _listed(addresses: Iterable[Address]) -> str:
    return ", ".join(map(str, sorted(addresses)))
