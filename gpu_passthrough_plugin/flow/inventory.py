"""This host's units in the ledger: published, taken out of use, put back."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.flow import sanitise, teardown
from gpu_passthrough_plugin.flow.context import (
    Site,
    require_current,
    require_here,
)
from gpu_passthrough_plugin.flow.recovery import quiet
from gpu_passthrough_plugin.model.allocation import SyncReport
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord


def publish(site: Site, *, replaces: bool = False) -> SyncReport:
    """Make the ledger's inventory of this host what the host shows.

    :param replaces: whether it takes another machine's place.
    :raises Refused: when another machine published under its name.
    """
    with quiet(site):
        return site.ledger.publish(
            site.host,
            site.units(),
            aggregates=site.aggregates,
            machine=known(host_facts.machine_identity(site.tree)) or "",
            replaces=replaces,
        )


def quarantine(site: Site, key: UnitKey, reason: str) -> UnitRecord:
    """A free unit, taken out of use by the operator."""
    with quiet(site):
        record = site.ledger.unit(key)
        if record.consumer:
            raise errors.Refused(
                f"unit {key} is {record.state} for {record.consumer};"
                " release that first"
            )
        if record.state is State.QUARANTINED:
            return record
        return site.ledger.move(record, State.QUARANTINED, reason=reason)


def clear(site: Site, key: UnitKey) -> UnitRecord:
    """A quarantined unit, looked at again and free.

    :raises Refused: when it is not quarantined, still not clean, or no
        longer the group that was published: a function that was taken off
        its bus and found again may be in another one.
    """
    require_here(site, key.host, f"unit {key}")
    with quiet(site):
        record = site.ledger.unit(key)
        if record.state is not State.QUARANTINED:
            raise errors.Refused(
                f"unit {key} is {record.state}, not quarantined"
            )
        faults = sanitise.inspect(site, record.unit)
        if faults:
            raise errors.Refused(
                f"unit {key} is not clean: {'; '.join(faults)}; power-cycle"
                " the host, then try again"
            )
        require_current(site, (record.unit,))
        teardown.restore(site, record.unit)
        return site.ledger.move(record, State.FREE)
