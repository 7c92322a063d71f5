"""Reset a unit that a guest had, and look whether it is clean."""

from __future__ import annotations

import dataclasses
import time

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import reset as resets
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow.context import HostContext, require_current
from gpu_passthrough_plugin.host.devices import Devices
from gpu_passthrough_plugin.model.function import VFIO, Rebind
from gpu_passthrough_plugin.model.unit import Unit

_POLL_S = 0.2


def sanitise(context: HostContext, unit: Unit) -> tuple[str, ...]:
    """The resets that failed, one line each; empty when none did."""
    failures = _taken(context, unit)
    if failures:
        return tuple(failures)
    ours = {f.address for f in unit.functions}
    here = [f for f in discovery.functions(context.tree) if f.address in ours]
    methods = {
        f.address: discovery.detail(context.tree, f).reset_methods
        for f in here
    }
    # The ledger's number is of the boot that the unit was published in.
    number = next(
        (f.iommu_group for f in here if isinstance(f.iommu_group, int)),
        unit.iommu_group,
    )
    unit = dataclasses.replace(unit, iommu_group=number)
    for reset in resets.plan(unit, methods):
        try:
            _reset(context.devices, reset)
            context.say(f"{reset} done")
        except errors.Error as error:
            failures.append(str(error))
    return tuple(failures)


def inspect(
    context: HostContext,
    unit: Unit,
    failures: tuple[str, ...] = (),
    *,
    timeout_s: float = 0,
) -> tuple[str, ...]:
    """Why the unit is not clean, by what its config space answers.

    :param timeout_s: how long a function that was just reset may take.
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


def _taken(context: HostContext, unit: Unit) -> list[str]:
    """Why functions are not on vfio-pci, which alone lets them be reset.

    One that is on another driver is taken back: the host was restarted
    under the guest.  Addresses may have moved then, so that only a group
    that is what it was, and that could be handed out, is touched.
    """
    failures = []
    for function in unit.functions:
        address = function.address
        try:
            binding = context.devices.binding(address)
            if binding.driver != VFIO.driver:
                require_current(context, (unit,))
                context.devices.prepare()
                context.devices.rebind(Rebind(address, binding, VFIO))
        except errors.Error as error:
            failures.append(f"{address} cannot be reset: {error}")
    return failures


def _reset(devices: Devices, reset: resets.Reset) -> None:
    if isinstance(reset, resets.FunctionReset):
        devices.reset_function(reset.address)
    else:
        devices.reset_bus(reset.address, reset.iommu_group)
