"""Hosts on which no IOMMU group has the function."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Case, Confidence
from gpu_passthrough_plugin.model.group import Reason
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from tests.unit.diagnosis.build import (
    LOST,
    SOURCE,
    UNGROUPED,
    WORD,
    Fields,
    case,
    enabled,
    found,
    member,
    told,
    ungrouped,
)
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import facts, gpu

NO_TABLES = frozenset({"FACP"})
AMD: Fields = {
    "cpu_vendor": CpuVendor.AMD,
    "acpi_tables": frozenset({"IVRS"}),
    "kernel_arguments": ("quiet",),
}
MIXED: Fields = {"cpu_vendor": CpuVendor.AMD}
PENDING = enabled(boot_id="now")


CMDLINE = "/etc/kernel/cmdline"
TWO_FILES = {**SOURCE, CMDLINE: ("root=ZFS=rpool", "boot=zfs")}
TWO_SETTINGS = {
    "/etc/default/grub GRUB_CMDLINE_LINUX": ("boot=zfs",),
    "/etc/default/grub GRUB_CMDLINE_LINUX_DEFAULT": WORD,
}
SECOND_LINE: Fields = {
    "configured": {CMDLINE: ("root=ZFS=rpool",)},
    "installation": found({CMDLINE: "root=ZFS=rpool\nintel_iommu=on\n"}),
}
REFUSED = "vfio-pci: probe of 0000:06:00.0 failed with error -22"


def unisolated(rule: str = "no-iommu", **fields: Fields) -> Case:
    """A function of a virtual machine, which the verdict refuses."""
    made: Fields = {
        "acpi_tables": NO_TABLES,
        "hypervisor": "Amazon EC2",
        "iommus": (),
    }
    reason = Reason(rule, "not in an IOMMU group: a virtual machine", "ask")
    return case(
        *UNGROUPED,
        facts=facts(**made | fields),
        reasons={member.address: (reason,) for member in UNGROUPED},
    )


EXAMPLES = {
    "no-iommu-group": Example(
        unisolated(),
        Confidence.CERTAIN,
        "0000:06:00.0 has no iommu_group; /sys/class/iommu: empty",
        (
            unisolated("host-critical"),
            unisolated(hypervisor=None),
            case(),
        ),
        (
            unisolated(iommus=LOST),
            unisolated(cpu_vendor=CpuVendor.ARM, hypervisor=None),
        ),
    ),
    "firmware-off": Example(
        ungrouped(acpi_tables=NO_TABLES),
        Confidence.CERTAIN,
        "/sys/firmware/acpi/tables has no DMAR",
        (
            ungrouped(),
            ungrouped(acpi_tables=NO_TABLES, hypervisor="Amazon EC2"),
            ungrouped(**MIXED | {"acpi_tables": frozenset({"DMAR"})}),
            ungrouped(acpi_tables=NO_TABLES, cpu_vendor=CpuVendor.ARM),
            # Another function's group shows that the table was there.
            case(facts=facts(acpi_tables=NO_TABLES, iommus=())),
        ),
        (
            ungrouped(**AMD | {"acpi_tables": NO_TABLES}),
            ungrouped(acpi_tables=NO_TABLES, cpu_vendor=LOST),
            ungrouped(acpi_tables=LOST),
            case(
                *UNGROUPED,
                facts=facts(acpi_tables=NO_TABLES, iommus=()),
                log=(REFUSED,),
            ),
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
            case(*UNGROUPED, **told("quiet", configured=TWO_SETTINGS)),
        ),
        (
            # Proxmox on ZFS: systemd-boot reads the other file.
            case(*UNGROUPED, **told("quiet", configured=TWO_FILES)),
            case(*UNGROUPED, **told("quiet", **SECOND_LINE)),
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
        (case(*UNGROUPED, **told(*WORD)),),
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
        (case(*UNGROUPED, **told(*WORD)),),
    ),
    "not-covered": Example(
        ungrouped(iommus=("dmar0",)),
        Confidence.CERTAIN,
        "0000:06:00.0 has no iommu_group; /sys/class/iommu: dmar0",
        (ungrouped(), case()),
        (
            case(
                *UNGROUPED,
                member(gpu("82:00.0", iommu_group=7)),
                facts=facts(iommus=LOST),
            ),
        ),
    ),
}
