"""The verbs around an instance's life that are a few calls each."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.flow import release as releases
from gpu_passthrough_plugin.flow import sanitise
from gpu_passthrough_plugin.flow.recovery import quiet
from gpu_passthrough_plugin.flow.site import Site, require_current
from gpu_passthrough_plugin.model.allocation import Allocation, SyncReport
from gpu_passthrough_plugin.model.instance import Instance, Phase
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


def release(site: Site, uuid: str) -> tuple[UnitRecord, ...]:
    """The units that an instance held, stopped, reset and checked.

    None, where one that was cut off had freed them all already.

    :raises Refused: when it holds nothing, or not on this host.
    """
    with quiet(site, but=uuid):
        held = _allocation(site, uuid)
        if held:
            _require_here(site, held.host, f"instance {uuid}")
        instance = site.journal.read(uuid)
        if instance is None:
            instance = Instance(uuid)
            site.say(
                f"the journal knows nothing of {uuid}: which drivers its"
                " functions had is unknown, so they stay on vfio-pci"
            )
        with site.connect() as hypervisor:
            releases.give_back(
                site,
                hypervisor,
                dataclasses.replace(instance, keeps_claim=False),
                stop_timeout_s=site.stop_timeout_s,
                restores_drivers=site.restores_drivers,
            )
        units = held.units if held else ()
        return tuple(site.ledger.unit(r.unit.key) for r in units)


def _allocation(site: Site, uuid: str) -> Allocation | None:
    """What an instance holds; None where its release had got that far."""
    try:
        return site.ledger.allocation(uuid)
    except errors.Refused as error:
        instance = site.journal.read(uuid)
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


def withdraw(site: Site, uuid: str) -> Allocation:
    """What a consumer had claimed and not begun to use, free again.

    :raises Refused: when it holds nothing, or an instance has it.
    """
    with quiet(site):
        held = site.ledger.allocation(uuid)
        busy = [r for r in held.units if r.state is not State.CLAIMED]
        if busy:
            raise errors.Refused(
                f"unit {busy[0].unit.key} of {uuid} is {busy[0].state}; run"
                f" 'gpu-passthrough instance release {uuid}' on {held.host}"
            )
        for record in held.units:
            site.ledger.move(record, State.FREE)
        return held


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
    _require_here(site, key.host, f"unit {key}")
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
        releases.restore(site, record.unit)
        return site.ledger.move(record, State.FREE)


def _require_here(site: Site, host: str, what: str) -> None:
    if host != site.host:
        raise errors.Refused(
            f"{what} is on host {host}, and this is {site.host}; run it there"
        )
