"""Every cause there is, in the order in which they are looked for.

Source: the order is that of the kernel's own steps: the device is found,
its IOMMU group made, its driver chosen and bound (drivers/base/dd.c,
drivers/vfio/pci/vfio_pci_core.c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gpu_passthrough_plugin.diagnosis.causes import (
    arguments,
    claim,
    company,
    competition,
    image,
    iommu,
    life,
    module,
    presence,
    refusal,
    startup,
    trouble,
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
    Step((presence.gone, presence.moved, presence.unreadable), True),
    Step(
        (
            iommu.firmware_off,
            iommu.iommu_off,
            iommu.argument_overridden,
            iommu.argument_misspelt,
            iommu.argument_missing,
            startup.iommu_driver_missing,
            startup.iommu_not_started,
            startup.not_covered,
        ),
        True,
    ),
    Step(
        (
            arguments.not_rebooted,
            arguments.not_regenerated,
            arguments.wrong_grub_cfg,
            arguments.other_boot_entry,
        )
    ),
    Step((life.d3cold, life.dead), True),
    Step((refusal.bridge, refusal.denied, refusal.sriov_busy)),
    Step(
        (
            module.vfio_missing,
            module.vfio_blacklisted,
            module.modprobe_unread,
            module.builtin_vfio,
        )
    ),
    Step(
        (
            claim.not_enabled,
            claim.ids_incomplete,
            claim.ids_stale,
            claim.override_other,
            claim.override_lost,
        )
    ),
    Step(
        (
            image.vfio_not_in_image,
            image.script_not_in_image,
            image.options_not_in_image,
        )
    ),
    Step((competition.competing_driver, refusal.probe_failed)),
    Step(
        (
            company.group_shared,
            company.identical_captured,
            company.group_split,
            company.group_renumbered,
            trouble.rmrr,
            trouble.framebuffer,
            trouble.interrupt_remapping,
            trouble.no_reset,
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
