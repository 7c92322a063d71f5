"""What is done about devices that Nova reserved for one use: pure.

They are given back only while nothing has them, which is looked at again
when it is done.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from gpu_passthrough_plugin.agent.finding import Act, Case, Finding
from gpu_passthrough_plugin.agent.observation import Observation
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import State, Unit


class WaitingDevices(NamedTuple):
    """Devices that wait to be given back, and are cleaned together.

    :param names: of Placement's providers; at least one.
    :param unit: the group that they are in; None where there is none.
    :param why_left: why nothing can be done about them; "" where it can.
    """

    names: tuple[str, ...]
    unit: Unit | None
    why_left: str = ""


def finding(observed: Observation, devices: WaitingDevices) -> Finding:
    """Return what is found of devices, with the act where nothing has them."""
    detail = (
        f"Nova reserved {', '.join(devices.names)} for one use, and no"
        " instance has it any more"
    )
    unit = devices.unit
    if unit is None or devices.why_left:
        return Finding(
            Case.ONE_TIME_USE,
            devices.names[0] if unit is None else str(unit.key),
            f"{detail}; {devices.why_left}",
            remedy="then run 'gpu-passthrough nova recycle'",
        )
    if why_in_use := _why_in_use(observed, unit):
        return Finding(
            Case.ONE_TIME_USE,
            str(unit.key),
            f"{detail}; it stays reserved while {why_in_use}",
        )
    return Finding(Case.ONE_TIME_USE, str(unit.key), detail, Act.RECYCLE)


def _why_in_use(observed: Observation, unit: Unit) -> str:
    """Return what has a unit, or may have it; "" for nothing."""
    for record in observed.listing.records:
        if record.unit.key == unit.key and record.state is not State.FREE:
            reason = record.consumer or record.reason
            return f"the ledger has it {record.state} ({reason})"
    functions = {function.address for function in unit.functions}
    for instance in observed.instances:
        # That of a quarantine has only the drivers to go back to.
        if instance.phase is Phase.QUARANTINED:
            continue
        if not instance.functions.isdisjoint(functions):
            return f"this host's journal has it for instance {instance.uuid}"
    return _why_guest(observed, functions)


def _why_guest(observed: Observation, functions: Collection[Address]) -> str:
    if isinstance(observed.guests, Unknown):
        return f"libvirt does not answer ({observed.guests})"
    for guest in observed.guests:
        if guest.host_functions is None:
            return f"the XML of guest {guest.uuid} cannot be read"
        if not set(guest.host_functions.addresses).isdisjoint(functions):
            return f"guest {guest.uuid} runs with it"
    return ""
