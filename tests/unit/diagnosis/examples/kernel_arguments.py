"""Hosts whose running kernel lacks an argument."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Confidence
from tests.unit.diagnosis.build import (
    SOURCE,
    UNGROUPED,
    WORD,
    case,
    enabled,
    found,
    told,
)
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import facts

MENU, STUB = "/boot/grub2/grub.cfg", "/boot/efi/EFI/centos/grub.cfg"
ENABLED = enabled()
PENDING = enabled(boot_id="now")
BOTH_ENTRIES = {f"{MENU}:100": WORD, f"{MENU}:120": WORD}
ONE_ENTRY = {f"{MENU}:100": WORD, f"{MENU}:120": ("quiet",)}
NO_ENTRY = {f"{MENU}:100": ("quiet",)}


EXAMPLES = {
    "not-rebooted": Example(
        case(*UNGROUPED, **told("quiet", enablement=PENDING)),
        Confidence.CERTAIN,
        "boot id",
        (
            case(
                *UNGROUPED,
                **told("quiet", enablement=ENABLED, entries=BOTH_ENTRIES),
            ),
            case(*UNGROUPED, **told("quiet", entries=NO_ENTRY)),
            case(*UNGROUPED, **told(*WORD, entries=BOTH_ENTRIES)),
            case(
                facts=facts(kernel_arguments=("quiet",)), entries=BOTH_ENTRIES
            ),
        ),
        (case(*UNGROUPED, **told("quiet", entries=ONE_ENTRY)),),
    ),
    "not-regenerated": Example(
        case(*UNGROUPED, **told("quiet", configured=SOURCE, entries=NO_ENTRY)),
        Confidence.CERTAIN,
        f"/etc/default/grub: intel_iommu=on; without it: {MENU}:100",
        (
            case(*UNGROUPED, **told("quiet", configured=SOURCE, entries={})),
            case(
                *UNGROUPED,
                **told("quiet", configured=SOURCE, entries=ONE_ENTRY),
            ),
            case(
                *UNGROUPED, **told(*WORD, configured=SOURCE, entries=NO_ENTRY)
            ),
        ),
        (
            case(
                *UNGROUPED,
                **told(
                    "quiet",
                    configured=SOURCE,
                    entries=NO_ENTRY,
                    installation=found(tools=["update-grub"]),
                ),
            ),
            case(
                *UNGROUPED,
                **told(
                    "quiet",
                    configured=SOURCE,
                    entries=NO_ENTRY,
                    installation=found(tools=["grub2-mkconfig"]),
                ),
            ),
        ),
    ),
    "wrong-grub-cfg": Example(
        case(
            *UNGROUPED,
            **told(
                "quiet",
                configured=SOURCE,
                entries={f"{STUB}:100": ("quiet",)},
                installation=found({MENU: "linuxefi /v quiet intel_iommu=on"}),
            ),
        ),
        Confidence.LIKELY,
        f"{MENU}: intel_iommu=on; without it: {STUB}:100",
        (
            case(
                *UNGROUPED,
                **told(
                    "quiet",
                    entries={f"{STUB}:100": ("quiet",)},
                    installation=found({MENU: "linuxefi /v quiet"}),
                ),
            ),
            case(
                *UNGROUPED,
                **told(
                    "quiet",
                    entries=NO_ENTRY,
                    installation=found({MENU: "linux /v intel_iommu=on"}),
                ),
            ),
        ),
    ),
    "other-boot-entry": Example(
        case(
            *UNGROUPED,
            **told("quiet", enablement=ENABLED, entries=BOTH_ENTRIES),
        ),
        Confidence.LIKELY,
        f"{MENU}:100: intel_iommu=on",
        (
            case(
                *UNGROUPED,
                **told("quiet", enablement=PENDING, entries=ONE_ENTRY),
            ),
            case(*UNGROUPED, **told("quiet", entries=BOTH_ENTRIES)),
            case(
                *UNGROUPED,
                **told(*WORD, enablement=ENABLED, entries=BOTH_ENTRIES),
            ),
        ),
    ),
    "argument-removed": Example(
        case(
            *UNGROUPED, **told("quiet", enablement=ENABLED, entries=NO_ENTRY)
        ),
        Confidence.LIKELY,
        f"without it: {MENU}:100",
        (
            case(
                *UNGROUPED,
                **told("quiet", enablement=PENDING, entries=NO_ENTRY),
            ),
            case(*UNGROUPED, **told("quiet", entries=NO_ENTRY)),
            case(*UNGROUPED, **told("quiet", enablement=ENABLED)),
            case(
                *UNGROUPED,
                **told("quiet", enablement=ENABLED, entries=ONE_ENTRY),
            ),
        ),
    ),
}
