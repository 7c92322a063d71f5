"""Reset a unit that a guest had, and check whether it is clean."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment
from gpu_passthrough_plugin.compute import reset as resets
from gpu_passthrough_plugin.compute.reset import (
    BusReset,
    FunctionReset,
    Neighbour,
    OwnResets,
)
from gpu_passthrough_plugin.discovery import function_health, function_resets
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow import host_snapshot, unit_health
from gpu_passthrough_plugin.flow.context import (
    HostContext,
    require_current,
    require_unused,
)
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.function import (
    VFIO,
    Function,
    Rebind,
)
from gpu_passthrough_plugin.model.function_health import ResetState
from gpu_passthrough_plugin.model.instance import NamedInstance
from gpu_passthrough_plugin.model.metric import CountedEvent
from gpu_passthrough_plugin.model.sanitising import SanitiseTarget
from gpu_passthrough_plugin.model.unit import Unit

_POLL_S = 0.2


class Cleaning(NamedTuple):
    """What became of a unit that a guest had.

    :param faults: why it is not clean, a line each; empty if it is.
    :param evidence: what was done to it, and what it shows after that.
    :param suspicions: why it may be about to fail although it is clean.
    """

    faults: tuple[str, ...]
    evidence: tuple[str, ...] = ()
    suspicions: tuple[str, ...] = ()


_NOT_SANITISED = "not sanitised: [release] sanitise_driver is not set"


def sanitise(
    context: HostContext,
    unit: Unit,
    ours: Mapping[Address, Unit],
    consumer: NamedInstance,
) -> Cleaning:
    """Reset, wipe and check a unit; return whether it is clean.

    What wipes it finds a device without a guest's state, and leaves none of
    its own.

    :param ours: functions of units that the same consumer gives back now.
    """
    cleaning = reset(context, unit, ours)
    if cleaning.faults:
        return cleaning
    evidence = cleaning.evidence
    if context.sanitiser is None:
        return cleaning._replace(evidence=(*evidence, _NOT_SANITISED))
    start_s = time.monotonic()
    try:
        context.sanitiser.sanitise(_target(context, unit, consumer))
    except errors.Error as error:
        return Cleaning((str(error),), evidence)
    took_s = time.monotonic() - start_s
    line = f"sanitised by {context.sanitiser.title} in {took_s:.0f} s"
    context.say(line)
    again = reset(context, unit, ours)
    return Cleaning(
        again.faults,
        (line, *again.evidence),
        tuple(dict.fromkeys((*cleaning.suspicions, *again.suspicions))),
    )


def _target(
    context: HostContext, unit: Unit, consumer: NamedInstance
) -> SanitiseTarget:
    first = unit.primaries[0]
    others = [f.address for f in unit.functions if f is not first]
    return SanitiseTarget(
        host=context.host,
        addresses=(first.address, *others),
        iommu_group=unit.iommu_group,
        vendor_id=first.vendor_id,
        product_id=first.product_id,
        consumer=consumer,
        previous_consumer=_previous(context, unit, consumer.uuid),
    )


def _previous(context: HostContext, unit: Unit, uuid: str) -> str:
    """Return who had the unit before a consumer; "" where that is unknown."""
    query = EventQuery(unit.key.host, str(unit.key.address))
    try:
        events = context.ledger.events(query).events
    except errors.Error:
        return ""
    consumers = [event.transition.consumer for event in events]
    return next((c for c in reversed(consumers) if c not in (None, uuid)), "")


def reset(
    context: HostContext,
    unit: Unit,
    ours: Mapping[Address, Unit],
    *,
    counts_from_now: bool = False,
) -> Cleaning:
    """Reset a unit, and check it; return whether it is clean.

    :param ours: functions of units that the same consumer gives back now.
    :param counts_from_now: whether errors that its functions reported before
        are no evidence.
    """
    failures = bind_to_vfio(context, unit)
    if failures:
        return Cleaning(check_clean(context, unit, tuple(failures)))
    before = _states(context, unit)
    recorded = unit_health.baseline(context, unit)
    good = unit_health.held_against(
        recorded,
        {address: state.health for address, state in before.items()},
        counts_from_now=counts_from_now,
    )
    done: list[str] = []
    buses = _plan(context, unit, ours)
    for bus in buses:
        failures += _reset_bus(context, bus, done)
    failures += resets.losses(unit)
    faults = check_clean(
        context, unit, tuple(failures), timeout_s=context.reset_timeout_s
    )
    healths = unit_health.settled(context, unit, good)
    after = {
        address: state._replace(health=healths[address])
        for address, state in _states(context, unit).items()
    }
    return Cleaning(
        (*faults, *resets.damages(before, after)),
        (*done, *resets.links(before, after)),
        unit_health.suspicions(
            context,
            good,
            healths,
            is_retrained=any(f"{bus.hot}: OK" in done for bus in buses),
        ),
    )


def _states(context: HostContext, unit: Unit) -> dict[Address, ResetState]:
    return {
        f.address: function_health.state(context.tree, f.address)
        for f in unit.functions
    }


def _plan(
    context: HostContext, unit: Unit, ours: Mapping[Address, Unit]
) -> tuple[BusReset, ...]:
    tree = context.tree
    functions = discovery.functions(tree)
    own = {f.address for f in unit.functions}
    members = [f for f in functions if f.address in own]
    # The ledger has the number of the boot in which the unit was published.
    number = next(
        (f.iommu_group for f in members if isinstance(f.iommu_group, int)),
        unit.iommu_group,
    )
    return resets.plan(
        dataclasses.replace(unit, iommu_group=number),
        {
            f.address: OwnResets(
                function_resets.reset_methods(tree, f),
                function_resets.has_reset(tree, f.address),
            )
            for f in members
        },
        tells_methods=function_resets.tells_methods(tree, functions),
        neighbours={
            f.address: tuple(_neighbours(context, f, functions, own))
            for f in members
        },
        ours=ours.keys(),
    )


def _neighbours(
    context: HostContext,
    member: Function,
    functions: tuple[Function, ...],
    own: set[Address],
) -> Iterator[Neighbour]:
    below = function_resets.below_same_bridge(context.tree, member, functions)
    for function in below:
        if function.address not in own:
            yield Neighbour(
                function.address, function.iommu_group, function.driver
            )


def _reset_bus(
    context: HostContext, bus: BusReset, done: list[str]
) -> list[str]:
    """Reset the functions of a unit on one bus; return what failed.

    Where a function's own resets fail, the bus is reset, if it may be.
    """
    failures: list[str] = []
    try:
        for reset in bus.alone:
            failures += _reset_alone(context, reset, done)
        if bus.alone and not failures:
            return []
        if bus.hot is None:
            return [*failures, bus.refusal]
        hot = bus.hot
        with _counted(context, "bus"):
            context.devices.reset_bus(hot.address, hot.iommu_group, hot.others)
    except errors.Error as error:
        # Nothing more is tried where the kernel does not come back.
        return [*failures, str(error)]
    for failure in failures:
        done.append(f"before that: {failure}")
    done.append(f"{hot}: OK")
    context.say(done[-1])
    return []


@contextlib.contextmanager
def _counted(context: HostContext, method: str) -> Iterator[None]:
    """Count a reset with its outcome."""
    outcome = "failed"
    try:
        yield
        outcome = "done"
    except errors.Stuck:
        outcome = "stuck"
        raise
    finally:
        context.count(CountedEvent.RESET, method, outcome)


def _reset_alone(
    context: HostContext, reset: FunctionReset, done: list[str]
) -> list[str]:
    """Reset one function by its first method that works.

    :raises Stuck: when the kernel does not come back in time.
    """
    failures = []
    for method in reset.methods or (None,):
        try:
            with _counted(context, method or "kernel"):
                context.devices.reset_function(reset.address, method)
        except errors.Stuck:
            raise
        except errors.Error as error:
            failures.append(f"{reset.title(method)} failed: {error}")
            continue
        done += [f"before that: {failure}" for failure in failures]
        done.append(f"{reset.title(method)}: OK")
        context.say(done[-1])
        return []
    return failures


def check_clean(
    context: HostContext,
    unit: Unit,
    failures: tuple[str, ...] = (),
    *,
    timeout_s: float = 0,
) -> tuple[str, ...]:
    """Return why a unit is not clean, by reading its config space.

    :param failures: resets of the unit that failed.
    :param timeout_s: how long a function may take to respond after a reset.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        identities = {
            f.address: context.devices.identity(f.address)
            for f in unit.functions
        }
        faults = resets.faults(unit, identities, failures)
        if not faults or failures or time.monotonic() > deadline:
            return faults
        time.sleep(_POLL_S)


def bind_to_vfio(context: HostContext, unit: Unit) -> list[str]:
    """Bind functions to vfio-pci, which resets need; return what failed.

    A function that another VFIO driver has stays on it.  After a restart of
    the host under the guest, a driver of the host's has it; libvirt leaves
    one that had no driver without any.  Addresses may have moved in a
    restart, so only a group that is still as published, and still assignable,
    is touched.
    """
    failures = []
    misplaced = []
    drivers = host_snapshot.vfio_drivers(
        context.tree, (f.address for f in unit.functions)
    )
    for function in unit.functions:
        address = function.address
        try:
            binding = context.devices.binding(address)
        except errors.Error as error:
            failures.append(f"{address} cannot be reset: {error}")
            continue
        if not assignment.is_on_vfio(binding, drivers.get(address)):
            misplaced.append(Rebind(address, binding, VFIO))
    if not misplaced:
        return failures
    try:
        require_current(context, (unit,))
        require_unused(context, misplaced)
        context.devices.prepare()
    except errors.Error as error:
        return failures + [
            f"{rebind.address} cannot be reset: {error}"
            for rebind in misplaced
        ]
    for rebind in misplaced:
        try:
            context.devices.rebind(rebind)
        except errors.Error as error:
            failures.append(f"{rebind.address} cannot be reset: {error}")
    return failures
