"""Of a host without groups, and of what its kernel was told."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Confidence
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.diagnosis.build import (
    RELEASE,
    Fields,
    card,
    case,
    enabled,
    found,
    ungrouped,
)
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import facts

LOST = Unknown(Why.UNREADABLE, "Permission denied")
NO_TABLES = frozenset({"FACP"})
AMD: Fields = {
    "cpu_vendor": CpuVendor.AMD,
    "acpi_tables": frozenset({"IVRS"}),
    "kernel_arguments": ("quiet",),
}
MIXED: Fields = {"cpu_vendor": CpuVendor.AMD}
WORD = ("quiet", "intel_iommu=on")
MENU, STUB = "/boot/grub2/grub.cfg", "/boot/efi/EFI/centos/grub.cfg"


def told(*words: str, **fields: Fields) -> Fields:
    """Evidence of a kernel without groups that was told these words."""
    made = facts(kernel_arguments=words, iommus=(), kernel_release=RELEASE)
    return {"facts": made, **fields}


UNGROUPED = card(iommu_group=None)
ENABLED = enabled()
PENDING = enabled(boot_id="now")
BOTH = {f"{MENU}:100": WORD, f"{MENU}:120": WORD}
ONE = {f"{MENU}:100": WORD, f"{MENU}:120": ("quiet",)}
NONE = {f"{MENU}:100": ("quiet",)}
SOURCE = {"/etc/default/grub": WORD}

HOST = {
    "firmware-off": Example(
        ungrouped(acpi_tables=NO_TABLES),
        Confidence.CERTAIN,
        "/sys/firmware/acpi/tables has no DMAR",
        (
            ungrouped(),
            ungrouped(**MIXED | {"acpi_tables": frozenset({"DMAR"})}),
            ungrouped(acpi_tables=NO_TABLES, cpu_vendor=CpuVendor.ARM),
            # Another function's group shows that the table was there.
            case(facts=facts(acpi_tables=NO_TABLES, iommus=())),
        ),
    ),
    "iommu-off": Example(
        ungrouped(kernel_arguments=("quiet", "intel_iommu=off")),
        Confidence.CERTAIN,
        "/proc/cmdline: intel_iommu=off",
        (
            ungrouped(kernel_arguments=("intel_iommu=off", *WORD)),
            ungrouped(**AMD | {"kernel_arguments": ("intel_iommu=off",)}),
            ungrouped(kernel_arguments=LOST),
            case(*UNGROUPED, **told("iommu=off", enablement=PENDING)),
        ),
    ),
    "argument-overridden": Example(
        ungrouped(kernel_arguments=(*WORD, "intel_iommu=off")),
        Confidence.CERTAIN,
        "intel_iommu=on … intel_iommu=off",
        (
            ungrouped(kernel_arguments=("intel_iommu=off",)),
            ungrouped(kernel_arguments=("intel_iommu=off", *WORD)),
            case(
                *UNGROUPED,
                **told(*WORD, "intel_iommu=off", enablement=PENDING),
            ),
        ),
    ),
    "argument-misspelt": Example(
        ungrouped(kernel_arguments=("intel_opmmu=on",)),
        Confidence.CERTAIN,
        "/proc/cmdline: intel_opmmu=on",
        (
            ungrouped(kernel_arguments=("intel_opmmu=on", *WORD)),
            ungrouped(**AMD | {"kernel_arguments": ("intel_opmmu=on",)}),
            case(facts=facts(kernel_arguments=("intel_opmmu=on",))),
            case(*UNGROUPED, **told("intel_opmmu=on", enablement=PENDING)),
        ),
    ),
    "argument-missing": Example(
        ungrouped(kernel_arguments=("quiet",)),
        Confidence.LIKELY,
        "/proc/cmdline: quiet",
        (
            # A kernel that makes groups without any argument.
            case(facts=facts(kernel_arguments=("quiet",))),
            ungrouped(**AMD),
            ungrouped(kernel_arguments=LOST),
            ungrouped(kernel_arguments=("iommu=on",)),
            case(*UNGROUPED, **told("quiet", configured=SOURCE)),
        ),
    ),
    "iommu-driver-missing": Example(
        case(
            *UNGROUPED,
            **told(
                *WORD,
                log=(
                    'Unknown kernel command line parameters "intel_iommu=on"'
                    ", will be passed to user space.",
                ),
            ),
        ),
        Confidence.CERTAIN,
        "Unknown kernel command line parameters",
        (
            case(*UNGROUPED, **told("quiet")),
            case(*UNGROUPED, **told(*WORD, log=("DMAR: parse failed",))),
        ),
    ),
    "iommu-not-started": Example(
        case(
            *UNGROUPED,
            **told(
                *WORD,
                log=(
                    "Kernel command line: quiet intel_iommu=on error=1",
                    "DMAR: Host address width 46",
                    "DMAR: Failed to initialize iommu0",
                ),
            ),
        ),
        Confidence.CERTAIN,
        "DMAR: Failed to initialize iommu0",
        (
            case(*UNGROUPED, **told("quiet")),
            ungrouped(iommus=("dmar0",)),
            ungrouped(iommus=LOST),
            ungrouped(acpi_tables=NO_TABLES),
        ),
    ),
    "not-covered": Example(
        ungrouped(iommus=("dmar0",)),
        Confidence.CERTAIN,
        "0000:06:00.0 has no iommu_group; /sys/class/iommu: dmar0",
        (ungrouped(), case()),
    ),
    "not-rebooted": Example(
        case(*UNGROUPED, **told("quiet", enablement=PENDING)),
        Confidence.CERTAIN,
        "boot id now, then and now",
        (
            case(
                *UNGROUPED, **told("quiet", enablement=ENABLED, entries=BOTH)
            ),
            case(*UNGROUPED, **told("quiet", entries=NONE)),
            case(*UNGROUPED, **told(*WORD, entries=BOTH)),
            case(facts=facts(kernel_arguments=("quiet",)), entries=BOTH),
        ),
    ),
    "not-regenerated": Example(
        case(*UNGROUPED, **told("quiet", configured=SOURCE, entries=NONE)),
        Confidence.CERTAIN,
        f"/etc/default/grub: intel_iommu=on; without it: {MENU}:100",
        (
            case(*UNGROUPED, **told("quiet", configured=SOURCE, entries={})),
            case(*UNGROUPED, **told("quiet", configured=SOURCE, entries=ONE)),
            case(*UNGROUPED, **told(*WORD, configured=SOURCE, entries=NONE)),
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
                    entries=NONE,
                    installation=found({MENU: "linux /v intel_iommu=on"}),
                ),
            ),
        ),
    ),
    "other-boot-entry": Example(
        case(*UNGROUPED, **told("quiet", enablement=ENABLED, entries=BOTH)),
        Confidence.LIKELY,
        f"{MENU}:100: intel_iommu=on",
        (
            case(*UNGROUPED, **told("quiet", enablement=PENDING, entries=ONE)),
            case(*UNGROUPED, **told("quiet", entries=BOTH)),
            case(*UNGROUPED, **told(*WORD, enablement=ENABLED, entries=BOTH)),
        ),
    ),
}
