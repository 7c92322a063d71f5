"""All rules, in the order in which their causes are shown.

Source: the kernel's own order: it finds the device, makes its IOMMU group,
chooses and binds its driver (drivers/base/dd.c,
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
    log_events,
    vfio_module,
    vfio_selection,
)
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence

Rule = Callable[[Case], Cause | None]


class RuleSet(NamedTuple):
    """Rules of one of the kernel's steps.

    :param is_always: whether they also apply to a function on vfio-pci.
    :param is_last: whether they apply only where no other did.
    """

    rules: tuple[Rule, ...]
    is_always: bool = False
    is_last: bool = False


RULE_SETS = (
    RuleSet(
        (device_missing.gone, device_missing.moved, device_missing.unreadable),
        True,
    ),
    RuleSet(
        (
            iommu_startup.firmware_off,
            iommu_startup.iommu_off,
            iommu_startup.argument_overridden,
            iommu_startup.argument_misspelt,
            iommu_startup.argument_missing,
            iommu_startup.iommu_driver_missing,
            iommu_startup.iommu_not_started,
            iommu_startup.not_covered,
            iommu_startup.no_iommu_group,
        ),
        True,
    ),
    RuleSet(
        (
            kernel_arguments.not_rebooted,
            kernel_arguments.not_regenerated,
            kernel_arguments.wrong_grub_cfg,
            kernel_arguments.other_boot_entry,
            kernel_arguments.argument_removed,
        )
    ),
    RuleSet((device_missing.d3cold, device_missing.dead), True),
    RuleSet(
        (
            driver_binding.bridge,
            driver_binding.denied,
            driver_binding.sriov_busy,
        )
    ),
    RuleSet(
        (
            vfio_module.vfio_missing,
            vfio_module.vfio_blacklisted,
            vfio_module.modprobe_unread,
            vfio_module.builtin_vfio,
        )
    ),
    RuleSet(
        (
            vfio_selection.not_enabled,
            vfio_selection.ids_invalid,
            vfio_selection.ids_incomplete,
            vfio_selection.ids_stale,
            vfio_selection.override_other,
            vfio_selection.override_lost,
        )
    ),
    RuleSet(
        (
            vfio_module.vfio_not_in_image,
            vfio_module.script_not_in_image,
            vfio_module.options_not_in_image,
        )
    ),
    RuleSet((driver_binding.competing_driver, driver_binding.probe_failed)),
    RuleSet(
        (
            group_peers.group_shared,
            group_peers.identical_captured,
            group_peers.group_split,
            group_peers.group_renumbered,
            guest_runtime.rmrr,
            guest_runtime.framebuffer,
            guest_runtime.interrupt_remapping,
            guest_runtime.no_reset,
            guest_runtime.reset_shared,
            log_events.reset_failed,
            log_events.iommu_timeout,
            log_events.bar_unassigned,
            log_events.pcie_error,
            log_events.device_lost,
            log_events.gpu_fault,
            log_events.nvlink_fault,
            log_events.iommu_fault,
            log_events.iommu_error,
            log_events.release_blocked,
            log_events.vf_token,
            log_events.memory_lock_limit,
            log_events.acs_override,
            log_events.rmrr_relaxed,
        ),
        True,
    ),
    RuleSet((driver_binding.not_probed,), is_last=True),
)

NAMES = tuple(
    rule.__name__.replace("_", "-")
    for rule_set in RULE_SETS
    for rule in rule_set.rules
)
"""The name of each cause; the guide has a section for each."""

_ORDER = tuple(Confidence)

BINDING = frozenset(
    {
        "builtin-vfio",
        "competing-driver",
        "group-shared",
        "identical-captured",
        "ids-incomplete",
        "ids-invalid",
        "ids-stale",
        "modprobe-unread",
        "not-enabled",
        "not-probed",
        "options-not-in-image",
        "override-lost",
        "override-other",
        "probe-failed",
        "script-not-in-image",
        "vfio-not-in-image",
    }
)
"""The causes whose fix gives functions to vfio-pci."""


def causes(case: Case) -> tuple[Cause, ...]:
    """Return the causes that apply, by rule set, the surest of each first.

    No fix advises what ``host enable`` would refuse.  Where another device
    has the address now, its state is no cause.
    """
    replaced = device_missing.moved(case)
    if replaced is not None and replaced.confidence is Confidence.CERTAIN:
        return (replaced,)
    ranked: list[Cause] = []
    for rule_set in RULE_SETS:
        if (rule_set.is_always or case.is_unbound) and not (
            rule_set.is_last and ranked
        ):
            ranked += _ranked(case, rule_set)
    if case.is_without_iommu:
        # Which driver has it is all one: VFIO cannot use it.
        ranked = [cause for cause in ranked if cause.name not in BINDING]
    return tuple(_within_verdict(case, cause) for cause in ranked)


def _within_verdict(case: Case, cause: Cause) -> Cause:
    refusals = case.refusals
    if cause.name not in BINDING or not refusals:
        return cause
    texts = dict.fromkeys(reason.text for reason in refusals)
    remedies = dict.fromkeys(reason.remedy for reason in refusals)
    return cause._replace(
        fix=f"do not bind it: {'; '.join(texts)}. {'; '.join(remedies)}"
    )


def _ranked(case: Case, rule_set: RuleSet) -> list[Cause]:
    results = [c for rule in rule_set.rules if (c := rule(case)) is not None]
    return sorted(results, key=lambda c: _ORDER.index(c.confidence))
