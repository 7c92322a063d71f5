"""This host's units in the ledger: published, taken out of use, put back."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.flow import sanitise, teardown
from gpu_passthrough_plugin.flow.context import (
    HostContext,
    require_current,
    require_here,
)
from gpu_passthrough_plugin.flow.recovery import quiet
from gpu_passthrough_plugin.model.allocation import SyncReport
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord


def publish(context: HostContext, *, replaces: bool = False) -> SyncReport:
    """Make the ledger's inventory of this host what the host shows.

    :param replaces: whether it takes another machine's place.
    :raises Refused: when another machine published under its name.
    """
    with quiet(context):
        return context.ledger.publish(
            context.host,
            context.units(),
            aggregates=context.aggregates,
            machine=known(host_facts.machine_identity(context.tree)) or "",
            replaces=replaces,
        )


def quarantine(context: HostContext, key: UnitKey, reason: str) -> UnitRecord:
    """A free unit, taken out of use by the operator."""
    with quiet(context):
        record = context.ledger.unit(key)
        if record.consumer:
            raise errors.Refused(
                f"unit {key} is {record.state} for {record.consumer};"
                " release that first"
            )
        if record.state is State.QUARANTINED:
            return record
        return context.ledger.move(record, State.QUARANTINED, reason=reason)


def clear(context: HostContext, key: UnitKey) -> UnitRecord:
    """A quarantined unit, looked at again and free.

    :raises Refused: when it is not quarantined, still not clean, or no
        longer the group that was published: a function that was taken off
        its bus and found again may be in another one.
    """
    require_here(context, key.host, f"unit {key}")
    with quiet(context):
        record = context.ledger.unit(key)
        if record.state is not State.QUARANTINED:
            raise errors.Refused(
                f"unit {key} is {record.state}, not quarantined"
            )
        faults = sanitise.inspect(context, record.unit)
        if faults:
            raise errors.Refused(
                f"unit {key} is not clean: {'; '.join(faults)}; power-cycle"
                " the host, then try again"
            )
        require_current(context, (record.unit,))
        teardown.restore(context, record.unit)
        return context.ledger.move(record, State.FREE)
