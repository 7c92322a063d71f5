"""Stop, reset, check, give back: what an instance held is free again."""

from __future__ import annotations

import dataclasses
import time
import uuid as uuids

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import domain, plan
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow.site import Site
from gpu_passthrough_plugin.host.devices import Devices
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.model.effect import VFIO
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord
from gpu_passthrough_plugin.release import clean, resets

_POLL_S = 0.2


def guest_faults(
    site: Site, hypervisor: Hypervisor, instance: Instance
) -> tuple[str, ...]:
    """How the running guest differs from its claim; empty if it doesn't."""
    live = hypervisor.live_xml(instance.uuid)
    if live is None:
        return ("the guest is not running",)
    there = domain.hostdevs(live.encode(), instance.uuid)
    units = tuple(record.unit for record in site.held(instance.uuid))
    return plan.faults(
        units, set(there) - set(instance.own), site.bindings(units)
    )


def give_back(
    site: Site,
    hypervisor: Hypervisor,
    instance: Instance,
    *,
    stop_timeout_s: float = 0,
    restores_drivers: bool = True,
) -> tuple[str, ...]:
    """What was done to give back everything that an instance has.

    Each act may find itself done already: this is also how what died
    half way is finished.

    :param stop_timeout_s: 0 stops the guest at once.
    """
    uuid = instance.uuid
    instance = dataclasses.replace(instance, phase=Phase.RELEASING)
    site.journal.write(instance)
    done: list[str] = []
    for state in (State.PREPARING, State.ACTIVE):
        site.move(uuid, state, State.RELEASING)
    if hypervisor.live_xml(uuid) is not None:
        done.append(_stopped(hypervisor, uuid, stop_timeout_s))
        site.say(done[-1])
    site.move(uuid, State.RELEASING, State.SANITISING)
    for record in site.held(uuid):
        if record.state is State.CLAIMED:
            done += _unclaimed(site, instance, record)
        elif faults := _dirt(site, instance, record.unit):
            done += _quarantined(site, instance, record, "; ".join(faults))
        else:
            instance = _cleaned(site, instance, record.unit)
            if restores_drivers:
                done += _restored(site, instance, record.unit)
            done += _freed(site, instance, record)
    site.journal.remove(uuid)
    return tuple(done)


def _stopped(hypervisor: Hypervisor, uuid: str, stop_timeout_s: float) -> str:
    if stop_timeout_s and hypervisor.shut_down(uuid, stop_timeout_s):
        return "guest shut down"
    hypervisor.destroy(uuid)
    waited = f" after {stop_timeout_s:g} s" if stop_timeout_s else ""
    return f"guest stopped by force{waited}"


def _unclaimed(
    site: Site, instance: Instance, record: UnitRecord
) -> list[str]:
    """Nothing was done to the unit yet."""
    if instance.keeps_claim:
        return []
    return _freed(site, instance, record)


def _freed(site: Site, instance: Instance, record: UnitRecord) -> list[str]:
    end = State.CLAIMED if instance.keeps_claim else State.FREE
    site.ledger.move(record, end)
    said = f"unit {record.unit.key} is {end}"
    site.say(said)
    return [said]


def _quarantined(
    site: Site, instance: Instance, record: UnitRecord, reason: str
) -> list[str]:
    """The unit stays on vfio-pci; what it was on is kept for ``clear``."""
    ours = {f.address for f in record.unit.functions}
    site.journal.write(
        dataclasses.replace(
            instance,
            uuid=str(uuids.uuid4()),
            phase=Phase.QUARANTINED,
            rebinds=tuple(r for r in instance.rebinds if r.address in ours),
        )
    )
    site.ledger.move(record, State.QUARANTINED, reason=reason)
    said = f"unit {record.unit.key} is quarantined: {reason}"
    site.say(said)
    return [said]


def _cleaned(site: Site, instance: Instance, unit: Unit) -> Instance:
    """Written down before its functions go back to host drivers."""
    cleaned = (*instance.cleaned, unit.key.address)
    instance = dataclasses.replace(instance, cleaned=cleaned)
    site.journal.write(instance)
    return instance


def _dirt(site: Site, instance: Instance, unit: Unit) -> tuple[str, ...]:
    """Why the unit is not clean, after the resets that it got."""
    if unit.key.address in instance.cleaned:
        return ()
    failures = sanitise(site, unit) if instance.was_started else ()
    return inspect(site, unit, failures)


def sanitise(site: Site, unit: Unit) -> tuple[str, ...]:
    """The resets that failed, one line each; empty when none did."""
    failures = [
        f"{address} is on {binding.driver or 'no driver'}, so that nothing"
        " could reset it"
        for address, binding in site.bindings((unit,)).items()
        if binding.driver != VFIO.driver
    ]
    if failures:
        return tuple(failures)
    ours = {f.address for f in unit.functions}
    methods = {
        f.address: discovery.detail(site.tree, f).reset_methods
        for f in discovery.functions(site.tree)
        if f.address in ours
    }
    for reset in resets.plan(unit, methods):
        try:
            _reset(site.devices, reset)
            site.say(f"{reset} done")
        except errors.Error as error:
            failures.append(str(error))
    return tuple(failures)


def inspect(
    site: Site, unit: Unit, failures: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Why the unit is not clean, by what its config space answers.

    A function that was just reset may take a while to answer.
    """
    deadline = time.monotonic() + site.reset_timeout_s
    while True:
        identities = {
            f.address: site.devices.identity(f.address) for f in unit.functions
        }
        faults = clean.faults(unit, identities, failures)
        if not faults or failures or time.monotonic() > deadline:
            return faults
        time.sleep(_POLL_S)


def _reset(devices: Devices, reset: resets.Reset) -> None:
    if isinstance(reset, resets.FunctionReset):
        devices.reset_function(reset.address)
    else:
        devices.reset_bus(reset.address, reset.iommu_group)


def _restored(site: Site, instance: Instance, unit: Unit) -> list[str]:
    ours = {f.address for f in unit.functions}
    done = []
    for rebind in reversed(instance.rebinds):
        if rebind.address not in ours or not rebind.is_needed:
            continue
        site.devices.rebind(rebind.undo())
        to = rebind.was.driver or "no driver"
        done.append(f"{rebind.address} is back on {to}")
        site.say(done[-1])
    return done


def restore(site: Site, unit: Unit) -> None:
    """Give a unit out of quarantine back to the drivers that it had."""
    for instance in site.journal.instances():
        if instance.phase is not Phase.QUARANTINED:
            continue
        if any(r.address == unit.key.address for r in instance.rebinds):
            _restored(site, instance, unit)
            site.journal.remove(instance.uuid)
