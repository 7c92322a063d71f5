"""Every cause there is, in the order in which they are looked for.

Source: the order is that of the kernel's own steps: the device is found,
its IOMMU group made, its driver chosen and bound (drivers/base/dd.c,
drivers/vfio/pci/vfio_pci_core.c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.causes import (
    device_missing,
    driver_binding,
    group_peers,
    guest_runtime,
    iommu_startup,
    kernel_arguments,
    vfio_module,
    vfio_selection,
)
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence

Rule = Callable[[Case], Cause | None]


class Step(NamedTuple):
    """Rules of one step.

    :param is_always: whether they are asked of a function on vfio-pci too.
    """

    rules: tuple[Rule, ...]
    is_always: bool = False


STEPS = (
    Step(
        (device_missing.gone, device_missing.moved, device_missing.unreadable),
        True,
    ),
    Step(
        (
            iommu_startup.firmware_off,
            iommu_startup.iommu_off,
            iommu_startup.argument_overridden,
            iommu_startup.argument_misspelt,
            iommu_startup.argument_missing,
            iommu_startup.iommu_driver_missing,
            iommu_startup.iommu_not_started,
            iommu_startup.not_covered,
        ),
        True,
    ),
    Step(
        (
            kernel_arguments.not_rebooted,
            kernel_arguments.not_regenerated,
            kernel_arguments.wrong_grub_cfg,
            kernel_arguments.other_boot_entry,
        )
    ),
    Step((device_missing.d3cold, device_missing.dead), True),
    Step(
        (
            driver_binding.bridge,
            driver_binding.denied,
            driver_binding.sriov_busy,
        )
    ),
    Step(
        (
            vfio_module.vfio_missing,
            vfio_module.vfio_blacklisted,
            vfio_module.modprobe_unread,
            vfio_module.builtin_vfio,
        )
    ),
    Step(
        (
            vfio_selection.not_enabled,
            vfio_selection.ids_incomplete,
            vfio_selection.ids_stale,
            vfio_selection.override_other,
            vfio_selection.override_lost,
        )
    ),
    Step(
        (
            vfio_module.vfio_not_in_image,
            vfio_module.script_not_in_image,
            vfio_module.options_not_in_image,
        )
    ),
    Step((driver_binding.competing_driver, driver_binding.probe_failed)),
    Step(
        (
            group_peers.group_shared,
            group_peers.identical_captured,
            group_peers.group_split,
            group_peers.group_renumbered,
            guest_runtime.rmrr,
            guest_runtime.framebuffer,
            guest_runtime.interrupt_remapping,
            guest_runtime.no_reset,
        ),
        True,
    ),
)

NAMES = tuple(
    rule.__name__.replace("_", "-") for step in STEPS for rule in step.rules
)
"""The name of each cause; the guide has a section of that name."""

_ORDER = tuple(Confidence)


def causes(case: Case) -> tuple[Cause, ...]:
    """All that apply, ranked: by step first, within one by confidence."""
    return tuple(
        cause
        for step in STEPS
        if step.is_always or case.is_unbound
        for cause in _ranked(case, step)
    )


def _ranked(case: Case, step: Step) -> list[Cause]:
    found = [c for rule in step.rules if (c := rule(case)) is not None]
    return sorted(found, key=lambda c: _ORDER.index(c.confidence))
