"""Bind, unbind or reset a whole group by hand, until the next boot.

Nothing is remembered: how the functions are bound is seen in sysfs, and a
boot binds them as 'host enable' has it, or as the host's drivers do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment
from gpu_passthrough_plugin.compute import reset as resets
from gpu_passthrough_plugin.flow import (
    host_snapshot,
    quarantine,
    sanitise,
    teardown,
)
from gpu_passthrough_plugin.flow.context import (
    HostContext,
    require_unused,
    why_busy,
)
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitRecord,
    failed_check_reason,
)

UNBINDING = "its group is given to drivers of the host"
"""Why a unit is quarantined while that is done."""


class MovedFunction(NamedTuple):
    """Which driver a function was on, and is on now; None for none."""

    address: Address
    was: str | None
    becomes: str | None


def bind(
    context: HostContext, address: Address, *, is_dry: bool = False
) -> tuple[MovedFunction, ...]:
    """Bind the functions of a group to vfio-pci: all of them, or none.

    One that another VFIO driver has stays there.

    :param address: of any endpoint of the group.
    :param is_dry: whether to change nothing.
    :raises Refused: when the group is not assignable, a consumer has it, or
        something uses it.
    """
    with _locked(context, is_dry=is_dry):
        unit, _ = _idle_unit(context, address)
        rebinds = teardown.present_rebinds(context, (unit,))
        require_unused(context, rebinds)
        if not is_dry:
            context.devices.prepare()
            _rebind(context, rebinds)
        return tuple(
            MovedFunction(r.address, r.was.driver, r.becomes.driver)
            for r in rebinds
        )


def _rebind(context: HostContext, rebinds: tuple[Rebind, ...]) -> None:
    """Rebind functions; undo what was done when one fails."""
    done: list[Rebind] = []
    try:
        for rebind in rebinds:
            if rebind.is_needed:
                done.append(rebind)
                context.devices.rebind(rebind)
    except errors.Error as error:
        left = [_undo(context, rebind) for rebind in reversed(done)]
        faults = "; ".join(filter(None, left))
        end = f"; not undone: {faults}" if faults else "; nothing was changed"
        raise errors.Refused(f"{error}{end}") from error


def _undo(context: HostContext, rebind: Rebind) -> str:
    try:
        context.devices.rebind(rebind.undo())
    except errors.Error as error:
        return str(error)
    return ""


def unbind(
    context: HostContext, address: Address, *, is_dry: bool = False
) -> tuple[MovedFunction, ...]:
    """Give the functions of a group to the drivers that the kernel picks.

    Those on a driver of the host stay there.  A free unit is quarantined
    meanwhile: no guest is to start with it.

    :raises Refused: as ``bind`` does, and for a quarantined unit: what a guest
        left on it is not for a driver of the host.
    """
    with _locked(context, is_dry=is_dry):
        unit, record = _idle_unit(context, address)
        if (
            record is not None
            and record.state is State.QUARANTINED
            and record.reason != UNBINDING
        ):
            raise errors.Refused(
                f"unit {unit.key} is quarantined: {record.reason}; run"
                f" 'gpu-passthrough unit clear {unit.key}' first"
            )
        before = _bindings(context, unit)
        vfio = host_snapshot.vfio_drivers(context.tree, before)
        taken = [
            place
            for place, binding in before.items()
            if binding.driver is None
            or assignment.is_on_vfio(binding, vfio.get(place))
        ]
        # As where a bind was killed before it took the driver away.
        waiting = [
            Rebind(place, binding, Binding(binding.driver, None))
            for place, binding in before.items()
            if place not in taken and binding.override == VFIO.override
        ]
        if is_dry:
            return tuple(
                MovedFunction(place, before[place].driver, None)
                for place in taken
            )
        with _withheld(context, record):
            for rebind in waiting:
                context.devices.rebind(rebind)
            for place in taken:
                context.devices.probe(place)
        after = _bindings(context, unit)
        return tuple(
            MovedFunction(place, before[place].driver, after[place].driver)
            for place in before
        )


@contextlib.contextmanager
def _withheld(
    context: HostContext, record: UnitRecord | None
) -> Iterator[None]:
    """Offer a unit to nobody inside.

    The libvirt hook claims units without the host's lock.
    """
    if record is None:
        yield
        return
    if record.state is State.FREE:
        record = context.ledger.move(
            record, State.QUARANTINED, reason=UNBINDING
        )
    try:
        yield
    except errors.Error:
        context.ledger.move(record, State.FREE)
        raise
    context.ledger.move(record, State.FREE)


def reset(context: HostContext, address: Address) -> tuple[str, ...]:
    """Reset a group that nothing uses, and check it; return what was done.

    :raises Refused: as ``bind`` does; when a function is on a driver of the
        host, which a reset would pull the device from under; when a reset is
        known to leave the device dead; and when it is not clean afterwards,
        which quarantines a free unit.
    """
    with _locked(context):
        unit, record = _idle_unit(context, address)
        bindings = _bindings(context, unit)
        vfio = host_snapshot.vfio_drivers(context.tree, bindings)
        others = [
            f"{place} is on {binding.driver or 'no driver'}"
            for place, binding in bindings.items()
            if not assignment.is_on_vfio(binding, vfio.get(place))
        ]
        if others:
            raise errors.Refused(
                f"{'; '.join(others)}; run 'gpu-passthrough device bind"
                f" {address}' first"
            )
        if lines := resets.losses(unit):
            raise errors.Refused(
                f"unit {unit.key} is not reset: {'; '.join(lines)}"
            )
        quarantine.require_rebooted(context, unit)
        cleaning = sanitise.reset(context, unit, {}, counts_from_now=True)
        faults = teardown.why_quarantined(cleaning)
        if not faults:
            return cleaning.evidence
        text = "; ".join(faults)
        if record is not None and record.state is State.FREE:
            reason = failed_check_reason("", f"reset: {text}")
            context.ledger.move(record, State.QUARANTINED, reason=reason)
            text += "; it is quarantined"
        raise errors.Refused(f"unit {unit.key}: {text}")


@contextlib.contextmanager
def _locked(context: HostContext, *, is_dry: bool = False) -> Iterator[None]:
    """Hold the host's lock, unless nothing is changed."""
    with contextlib.nullcontext() if is_dry else locked_and_recovered(context):
        yield


def _idle_unit(
    context: HostContext, address: Address
) -> tuple[Unit, UnitRecord | None]:
    """Return the group of a function, and its record in the ledger.

    :raises Refused: when it is not assignable, or something has it.
    """
    for unit in context.units():
        functions = {f.address for f in unit.functions}
        if address in functions:
            break
    else:
        raise errors.Refused(
            f"{address} is in no assignable group of selected devices; see"
            " 'gpu-passthrough group list' for the reason"
        )
    own = None
    for record in context.records():
        if functions.isdisjoint(f.address for f in record.unit.functions):
            continue
        if record.unit.functions != unit.functions:
            raise errors.Refused(
                f"unit {record.unit.key} of the ledger is another group now;"
                " run 'gpu-passthrough inventory sync' first"
            )
        if record.state.is_held:
            raise errors.Refused(
                f"unit {record.unit.key} is {record.state} for"
                f" {record.consumer}"
            )
        own = record
    if busy := why_busy(context, unit):
        raise errors.Refused(busy)
    context.journal.require_free(functions)
    return unit, own


def _bindings(context: HostContext, unit: Unit) -> dict[Address, Binding]:
    return dict(sorted(context.bindings((unit,)).items()))
