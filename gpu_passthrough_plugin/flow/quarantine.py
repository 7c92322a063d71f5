"""Quarantine a unit after a guest, and whether only a reboot helps it."""

from __future__ import annotations

import dataclasses
import uuid as uuids

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import reset as resets
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord


def put(
    context: HostContext, instance: Instance, record: UnitRecord, reason: str
) -> list[str]:
    """Quarantine a unit; ``unit clear`` restores its drivers later."""
    addresses = {f.address for f in record.unit.functions}
    context.journal.write(
        dataclasses.replace(
            instance,
            uuid=journal_uuid(record.unit),
            phase=Phase.QUARANTINED,
            boot_id=known(host_facts.boot_id(context.tree)) or "",
            rebinds=tuple(
                r for r in instance.rebinds if r.address in addresses
            ),
        )
    )
    context.ledger.move(record, State.QUARANTINED, reason=reason)
    line = f"unit {record.unit.key} is quarantined: {reason}"
    context.say(line)
    return [line]


def require_rebooted(context: HostContext, unit: Unit) -> None:
    """Raise if a reset left a unit dead, and the host was not rebooted since.

    It may respond all the same: until the next guest has it.

    :raises Refused: also when whether it was rebooted is unknown.
    """
    lines = resets.losses(unit)
    if not lines or not had_guest(context, unit):
        return
    boot_id = host_facts.boot_id(context.tree)
    if isinstance(boot_id, Unknown):
        lines = (*lines, f"whether it was rebooted is unknown: {boot_id}")
    raise errors.Refused(
        f"unit {unit.key} had a guest in this boot: {'; '.join(lines)}; reboot"
        " the host, then run this again"
    )


def had_guest(context: HostContext, unit: Unit) -> bool:
    """Return whether a quarantined unit had a guest in this boot.

    Also where it is unknown whether the host was rebooted since.
    """
    instance = context.journal.read(journal_uuid(unit))
    if instance is None or not instance.was_started:
        return False
    boot_id = host_facts.boot_id(context.tree)
    return isinstance(boot_id, Unknown) or instance.boot_id in ("", boot_id)


def journal_uuid(unit: Unit) -> str:
    """Return the UUID under which the journal keeps a quarantined unit."""
    return str(uuids.uuid5(uuids.NAMESPACE_URL, str(unit.key)))
