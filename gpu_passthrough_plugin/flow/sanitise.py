"""Reset a unit that a guest had, and check whether it is clean."""

from __future__ import annotations

import dataclasses
import time

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment
from gpu_passthrough_plugin.compute import reset as resets
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.context import (
    HostContext,
    require_current,
    require_unused,
)
from gpu_passthrough_plugin.host.devices import Devices
from gpu_passthrough_plugin.model.function import VFIO, Rebind
from gpu_passthrough_plugin.model.unit import Unit

_POLL_S = 0.2


def sanitise(context: HostContext, unit: Unit) -> tuple[str, ...]:
    """Reset a unit; return a line for each reset that failed."""
    failures = _bind_to_vfio(context, unit)
    if failures:
        return tuple(failures)
    addresses = {f.address for f in unit.functions}
    functions = [
        f for f in discovery.functions(context.tree) if f.address in addresses
    ]
    methods = {
        f.address: discovery.detail(context.tree, f).reset_methods
        for f in functions
    }
    # The ledger has the number of the boot in which the unit was published.
    number = next(
        (f.iommu_group for f in functions if isinstance(f.iommu_group, int)),
        unit.iommu_group,
    )
    unit = dataclasses.replace(unit, iommu_group=number)
    for reset in resets.plan(unit, methods):
        try:
            _reset(context.devices, reset)
            context.say(f"{reset}: OK")
        except errors.Error as error:
            failures.append(str(error))
    return (*failures, *resets.losses(unit))


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


def _bind_to_vfio(context: HostContext, unit: Unit) -> list[str]:
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


def _reset(devices: Devices, reset: resets.Reset) -> None:
    if isinstance(reset, resets.FunctionReset):
        devices.reset_function(reset.address)
    else:
        devices.reset_bus(reset.address, reset.iommu_group)
