"""Why a function is in no IOMMU group: machine, firmware, kernel argument."""

from __future__ import annotations

from gpu_passthrough_plugin.formats import iommu_arguments
from gpu_passthrough_plugin.formats.iommu_arguments import (
    INTEL,
    INTEL_ON,
)
from gpu_passthrough_plugin.isolation.partition import Part
from gpu_passthrough_plugin.model.group import NO_IOMMU, VFIO_NO_IOMMU, Reason
from gpu_passthrough_plugin.model.host_facts import (
    IOMMU_TABLES,
    TABLES,
    CpuVendor,
    HostFacts,
    firmware_remedy,
    start_remedy,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown

AS_ROOT = "run this on the host as root"
# The name of the groups that VFIO makes where no IOMMU is active.
_VFIO_GROUP = "vfio-noiommu"


def lack(part: Part, facts: HostFacts) -> Reason | None:
    """Return that no IOMMU isolates a group, or None.

    Without an IOMMU VFIO makes groups itself if it is told to; they isolate
    nothing.  Source: Linux, drivers/vfio/group.c (vfio_noiommu_group_alloc).
    """
    if part.number is not None:
        evidence = _no_iommu_mode(part, facts)
        if evidence is not None:
            return Reason(
                VFIO_NO_IOMMU,
                f"group {part.number} is one of VFIO's no-IOMMU mode"
                f"{evidence}: nothing isolates its functions, and no guest"
                " can have them",
                "remove enable_unsafe_noiommu_mode=1 from the options of"
                " module vfio, and give the host an IOMMU: in a virtual"
                " machine a virtual one (in Nova hw:viommu_model)",
            )
        return None
    group = part.members[0].function.iommu_group
    if isinstance(group, Unknown):
        return Reason(
            NO_IOMMU,
            f"the IOMMU group of {part.members[0].address} is unknown:"
            f" {group}",
            AS_ROOT,
        )
    return absence(facts)


def _no_iommu_mode(part: Part, facts: HostFacts) -> str | None:
    """Return how VFIO's own group is known as such; None for another's.

    Where its name was not read, that it is there without an active IOMMU;
    only of x86, whose IOMMUs are all in /sys/class/iommu.
    """
    attributes = part.attributes
    name = MISSING if attributes is None else attributes.name
    if name == _VFIO_GROUP:
        return ""
    is_x86 = facts.cpu_vendor in (CpuVendor.INTEL, CpuVendor.AMD)
    if isinstance(name, Unknown) and is_x86 and facts.iommus == ():
        return ", as no IOMMU is active (/sys/class/iommu is empty)"
    return None


def absence(facts: HostFacts) -> Reason:
    """Return why the kernel put a function in no group, and what to do."""
    return (
        _not_covered(facts)
        or _virtual_machine(facts)
        or _firmware(facts)
        or _switched_off(facts)
        or _not_switched_on(facts)
        or _not_started(facts)
        or Reason(
            NO_IOMMU,
            "not in an IOMMU group; the cause is unknown because the host's"
            " facts could not be read",
            AS_ROOT,
        )
    )


def _not_covered(facts: HostFacts) -> Reason | None:
    if isinstance(facts.iommus, Unknown) or not facts.iommus:
        return None
    if facts.cpu_vendor is CpuVendor.ARM:
        return Reason(
            NO_IOMMU,
            f"not in an IOMMU group: no active IOMMU"
            f" ({', '.join(facts.iommus)}) covers the PCI Express port of"
            " this function",
            "use a machine, a firmware or a kernel with an SMMU for PCI"
            " Express: without one nothing can be passed through",
        )
    return Reason(
        NO_IOMMU,
        "not in an IOMMU group: no active IOMMU"
        f" ({', '.join(facts.iommus)}) covers this function",
        "leave it to the host, or move the card to another slot",
    )


def _virtual_machine(facts: HostFacts) -> Reason | None:
    if facts.hypervisor is None:
        return None
    if facts.is_dom0:
        return Reason(
            NO_IOMMU,
            f"not in an IOMMU group: this Linux is {facts.hypervisor}, and the"
            " IOMMU is Xen's",
            "pass devices through with Xen's own tools (xen-pciback), or boot"
            " Linux without Xen",
        )
    if facts.has_iommu_table:
        # It has a virtual IOMMU, which is not on.
        return None
    return Reason(
        NO_IOMMU,
        "not in an IOMMU group: this host is a virtual machine"
        f" ({facts.hypervisor}) without a virtual IOMMU",
        "run this on the physical machine (in clouds a bare-metal type), or"
        " give the virtual machine an IOMMU: libvirt <iommu model='intel'>"
        " with machine type q35, Nova hw:viommu_model=auto",
    )


def _firmware(facts: HostFacts) -> Reason | None:
    vendor, tables = facts.cpu_vendor, facts.acpi_tables
    if isinstance(vendor, Unknown) or isinstance(tables, Unknown):
        return None
    table = IOMMU_TABLES.get(vendor)
    # Any maker's table will do: an emulated host mixes them.
    if table is None or tables & TABLES:
        return None
    return Reason(
        NO_IOMMU,
        f"not in an IOMMU group: the firmware has no ACPI table {table}",
        firmware_remedy(vendor),
    )


def _switched_off(facts: HostFacts) -> Reason | None:
    words = facts.kernel_arguments
    if isinstance(words, Unknown):
        return None
    off = iommu_arguments.turned_off_by(
        words, iommu_arguments.parameter(facts)
    )
    if off is None:
        return None
    return Reason(
        NO_IOMMU,
        f"not in an IOMMU group: the kernel was started with {off}",
        iommu_arguments.removal(off),
    )


def _not_switched_on(facts: HostFacts) -> Reason | None:
    words = facts.kernel_arguments
    parameter = iommu_arguments.parameter(facts)
    if isinstance(words, Unknown) or parameter != INTEL:
        return None
    if any(iommu_arguments.switches(words, parameter)):
        return None
    typo = iommu_arguments.ineffective(words)
    if typo:
        return Reason(
            NO_IOMMU,
            f"not in an IOMMU group: the kernel was started with {typo},"
            " which it ignores without a message",
            iommu_arguments.replacement(typo),
        )
    return Reason(
        NO_IOMMU,
        f"not in an IOMMU group: the kernel was started without {INTEL_ON}",
        iommu_arguments.ADDITION,
    )


def _not_started(facts: HostFacts) -> Reason | None:
    if isinstance(facts.iommus, Unknown) or facts.iommus:
        return None
    text = (
        "not in an IOMMU group: no IOMMU is active (/sys/class/iommu is empty)"
    )
    vendor = facts.cpu_vendor
    if vendor is CpuVendor.ARM:
        machine = facts.board or "this machine"
        return Reason(
            NO_IOMMU,
            f"{text} on {machine}",
            "enable the SMMU in the firmware setup where it has such a"
            " setting; a board without an SMMU for PCI Express (such as every"
            " Raspberry Pi) cannot pass anything through",
        )
    if vendor is CpuVendor.OTHER:
        return Reason(
            NO_IOMMU,
            text,
            "check in the firmware setup and in the kernel log whether this"
            " machine has an IOMMU",
        )
    return Reason(NO_IOMMU, text, start_remedy(vendor))
