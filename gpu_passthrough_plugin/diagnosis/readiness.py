"""Is a host ready to assign groups: firmware, IOMMU, groups, vfio-pci."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin.diagnosis.causes.vfio_module import MODULE_REMEDY
from gpu_passthrough_plugin.model import fabric as fabrics
from gpu_passthrough_plugin.model.fabric import SHARED, VGPU
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.function import VFIO_PCI
from gpu_passthrough_plugin.model.group import (
    NO_IOMMU,
    VFIO_NO_IOMMU,
    Group,
    Member,
    Reason,
    Role,
)
from gpu_passthrough_plugin.model.host_facts import (
    IOMMU_TABLES,
    TABLES,
    HostFacts,
    firmware_remedy,
)
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.reset_family import ResetFamily, family


def findings(facts: HostFacts, groups: Sequence[Group]) -> tuple[Finding, ...]:
    """Return one finding per check, in the order in which a host is set up."""
    reason = absence(groups)
    return (
        _firmware(facts, reason),
        _iommu(facts, reason, groups),
        _groups(groups),
        _assignable(groups),
        *_fabric(facts, groups),
        *_reset(groups),
    )


def _reset(groups: Sequence[Group]) -> Iterator[Finding]:
    """Yield the selected cards that are known not to come back from a reset.

    One finding a family; nothing for cards that can be handed out anyway.
    """
    addresses: dict[ResetFamily, list[str]] = {}
    for group in groups:
        if not group.verdict.is_assignable:
            continue
        for member in group.primaries:
            function = member.function
            row = family(function.vendor_id, function.product_id)
            if row is not None:
                addresses.setdefault(row, []).append(str(member.address))
    for row, members in addresses.items():
        yield Finding(
            "reset",
            Status.WARN,
            f"{', '.join(members)} ({row.name}): {row.behaviour}",
            row.remedy,
        )


def _fabric(facts: HostFacts, groups: Sequence[Group]) -> Iterator[Finding]:
    """Yield what connects the host's GPUs by NVLink, if anything does."""
    members = [m for g in groups for m in g.members]
    fabric = fabrics.fabric(m.function for m in members)
    if fabric is None:
        return
    mode = facts.fabric_mode
    detail = (
        f"NVLink fabric of {fabric}; {fabrics.mode_description(mode)}; a guest"
        " with several of the GPUs needs a partition, which is a set of GPUs"
        " that Fabric Manager connects"
    )
    if fabric.given:
        yield Finding(
            "fabric",
            Status.WARN,
            f"{detail}; {fabrics.addresses(fabric.given)} on vfio-pci",
            "give all GPUs and all NVSwitches to one guest; for several"
            " guests leave the NVSwitches to the host's driver and activate a"
            " partition of Fabric Manager for each",
        )
        return
    needed = VGPU if any(map(_is_vgpu, members)) else SHARED
    is_selected = any(m.role is Role.PRIMARY for m in members)
    if isinstance(mode, int) and mode != needed and is_selected:
        yield Finding(
            "fabric",
            Status.WARN,
            detail,
            f"set FABRIC_MODE={needed} in {fabrics.MANAGER_PATH} and restart"
            " nvidia-fabricmanager while no guest has any of the GPUs",
        )
        return
    yield Finding("fabric", Status.PASS, detail)


def _is_vgpu(member: Member) -> bool:
    """Return whether it is a virtual function that carries a vGPU."""
    detail = member.detail
    return detail is not None and bool(known(detail.vgpu_type))


def vfio(
    is_loaded: bool, is_available: bool | Unknown, groups: Sequence[Group]
) -> Finding:
    """Return whether vfio-pci is loaded, or can be.

    :param is_loaded: whether the driver was seen in sysfs, which recordings
        do not have: a function bound to it proves it as well.
    :param is_available: whether the running kernel has the module.
    """
    if is_loaded:
        return Finding("vfio-pci", Status.PASS, "loaded")
    members = (member for group in groups for member in group.members)
    bound = [m.address for m in members if m.function.driver == VFIO_PCI]
    if bound:
        detail = f"loaded: {min(bound)} is bound to it"
        return Finding("vfio-pci", Status.PASS, detail)
    if isinstance(is_available, Unknown):
        return Finding(
            "vfio-pci",
            Status.WARN,
            f"not loaded; whether it is available is unknown: {is_available}",
            "run 'modprobe vfio-pci' on the host",
        )
    if is_available:
        return Finding("vfio-pci", Status.PASS, "available (loaded on demand)")
    return Finding(
        "vfio-pci",
        Status.FAIL,
        "the running kernel has no vfio-pci module",
        MODULE_REMEDY,
    )


def absence(groups: Sequence[Group]) -> Reason | None:
    """Return why a function of the host is in no group, or None."""
    reasons = (reason for group in groups for reason in group.verdict.reasons)
    return next(
        (r for r in reasons if r.rule in (NO_IOMMU, VFIO_NO_IOMMU)), None
    )


def _firmware(facts: HostFacts, absence: Reason | None) -> Finding:
    """Return whether the firmware provides an IOMMU.

    An active IOMMU proves it, whatever the tables are.
    """
    vendor, tables = facts.cpu_vendor, facts.acpi_tables
    if not isinstance(facts.iommus, Unknown) and facts.iommus:
        tables = known(tables) or frozenset()
        present = ", ".join(sorted(tables & TABLES))
        detail = f"ACPI table {present}" if present else "an IOMMU is active"
        return Finding("firmware", Status.PASS, detail)
    is_known = not isinstance(facts.iommus, Unknown)
    if facts.hypervisor is not None and is_known and not facts.has_iommu_table:
        return Finding(
            "firmware",
            Status.FAIL,
            f"this host runs under a hypervisor ({facts.hypervisor}) and has"
            " no IOMMU",
            absence.remedy if absence else "run this on the physical machine",
        )
    if isinstance(vendor, Unknown) or isinstance(tables, Unknown):
        return Finding(
            "firmware",
            Status.WARN,
            f"unknown: {_unknown_facts(vendor, tables)}",
            "run this on the host as root",
        )
    table = IOMMU_TABLES.get(vendor)
    if table is None:
        return Finding(
            "firmware",
            Status.PASS,
            f"not checked: {vendor} CPUs need no ACPI table",
        )
    # Any maker's table will do: an emulated host mixes them.
    if tables & TABLES:
        listed = ", ".join(sorted(tables & TABLES))
        return Finding("firmware", Status.PASS, f"ACPI table {listed}")
    return Finding(
        "firmware",
        Status.FAIL,
        f"no ACPI table {table}: the IOMMU is disabled in the firmware",
        firmware_remedy(vendor),
    )


def _unknown_facts(vendor: object, tables: object) -> str:
    return ", ".join(
        f"{name} {value}"
        for name, value in (("CPU vendor", vendor), ("ACPI tables", tables))
        if isinstance(value, Unknown)
    )


def _iommu(
    facts: HostFacts, absence: Reason | None, groups: Sequence[Group]
) -> Finding:
    """Return whether an IOMMU is active.

    POWER's have no entry in /sys/class/iommu; groups that are not VFIO's own
    prove them.  Source: Linux, arch/powerpc/kernel/iommu.c.
    """
    iommus = facts.iommus
    if isinstance(iommus, Unknown):
        return Finding(
            "iommu",
            Status.WARN,
            f"unknown: /sys/class/iommu {iommus}",
            "run this on the host as root",
        )
    if iommus:
        return Finding("iommu", Status.PASS, f"active: {', '.join(iommus)}")
    is_vfios = absence is not None and absence.rule == VFIO_NO_IOMMU
    if any(g.number is not None for g in groups) and not is_vfios:
        detail = "active: the kernel has IOMMU groups"
        return Finding("iommu", Status.PASS, detail)
    return Finding(
        "iommu",
        Status.FAIL,
        "no IOMMU is active (/sys/class/iommu is empty)",
        absence.remedy
        if absence
        else "search the kernel log for the word IOMMU",
    )


def _groups(groups: Sequence[Group]) -> Finding:
    number = sum(g.number is not None for g in groups)
    if number:
        return Finding("groups", Status.PASS, f"{number} IOMMU groups")
    reason = next((r for g in groups for r in g.verdict.reasons), None)
    return Finding(
        "groups",
        Status.FAIL,
        reason.text if reason else "no PCI function is in an IOMMU group",
        reason.remedy
        if reason
        else "check the IOMMU first; see /sys/bus/pci/devices",
    )


def _assignable(groups: Sequence[Group]) -> Finding:
    selected = [g for g in groups if g.primaries]
    assignable = [g for g in selected if g.verdict.is_assignable]
    detail = (
        f"{len(assignable)} of {len(selected)} groups with a selected function"
    )
    others = [
        str(m.address)
        for g in groups
        for m in g.members
        if (m.function.is_display or m.function.is_accelerator)
        and m.role is not Role.PRIMARY
    ]
    if others:
        detail += f"; not selected: {', '.join(others)}"
    if assignable:
        return Finding("assignable", Status.PASS, detail)
    return Finding(
        "assignable",
        Status.FAIL,
        detail,
        "run 'gpu-passthrough group list' for the reasons, and"
        " 'gpu-passthrough group show N' for the remedies",
    )
