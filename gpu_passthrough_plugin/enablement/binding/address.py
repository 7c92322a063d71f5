"""Binding by address: exactly the selected functions, and no twin."""

from __future__ import annotations

from gpu_passthrough_plugin.enablement import ours
from gpu_passthrough_plugin.enablement.binding import strangers
from gpu_passthrough_plugin.enablement.binding.script import script
from gpu_passthrough_plugin.enablement.driver import (
    Binding,
    BindingCase,
    BindingPlan,
)
from gpu_passthrough_plugin.formats import modprobe
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.enablement import Early


class AddressBinding(Binding):
    """An early script sets ``driver_override`` of each function."""

    name = "address"
    reads = modprobe.READS

    def plan(self, case: BindingCase) -> BindingPlan:
        strangers.refuse_unknown(case)
        strangers.refuse_captured(case)
        # Of a binding by ids that this one takes the place of.
        changes = ours.write(case.found, "bind by ids", ours.MODPROBE, None)
        early = Early(script(case.targets), ours.MODULES)
        return BindingPlan(changes, Requirements(), early)
