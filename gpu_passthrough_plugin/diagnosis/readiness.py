"""Whether a host is ready to hand groups out, by what it shows."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import IOMMU_TABLES, HostFacts
from gpu_passthrough_plugin.model.reading import Unknown


def findings(facts: HostFacts, groups: Sequence[Group]) -> tuple[Finding, ...]:
    """A finding a check, in the order in which a host is made ready."""
    return (
        _firmware(facts),
        _iommu(facts),
        _groups(groups),
        _assignable(groups),
    )


def vfio(is_loaded: bool, is_there: bool | Unknown) -> Finding:
    """Whether there is, or could be, a vfio-pci driver to bind to.

    :param is_there: whether the running kernel has such a module.
    """
    if is_loaded:
        return Finding("vfio-pci", Status.PASS, "the driver is loaded")
    if isinstance(is_there, Unknown):
        return Finding(
            "vfio-pci",
            Status.WARN,
            f"not loaded, and whether it can be is unknown: {is_there}",
            "run 'modprobe vfio-pci' on the host",
        )
    if is_there:
        return Finding(
            "vfio-pci", Status.PASS, "the driver is loaded when it is needed"
        )
    return Finding(
        "vfio-pci",
        Status.FAIL,
        "the running kernel has no vfio-pci module",
        "install the kernel's extra modules, or a kernel with CONFIG_VFIO_PCI",
    )


def _firmware(facts: HostFacts) -> Finding:
    vendor, tables = facts.cpu_vendor, facts.acpi_tables
    if isinstance(vendor, Unknown) or isinstance(tables, Unknown):
        return Finding(
            "firmware",
            Status.WARN,
            f"unknown: {_lost(vendor, tables)}",
            "run this on the host itself as root",
        )
    table = IOMMU_TABLES.get(vendor)
    if table is None:
        return Finding(
            "firmware", Status.PASS, f"no table is expected of {vendor} CPUs"
        )
    # Either maker's table will do: an emulated host mixes them.
    there = sorted(tables.intersection(IOMMU_TABLES.values()))
    if there:
        return Finding(
            "firmware", Status.PASS, f"ACPI table {', '.join(there)}"
        )
    return Finding(
        "firmware",
        Status.FAIL,
        f"no ACPI table {table}: the firmware has the IOMMU turned off",
        "turn VT-d (Intel) or AMD-Vi (AMD) on in the firmware's setup",
    )


def _lost(vendor: object, tables: object) -> str:
    return ", ".join(
        f"{what} {value}"
        for what, value in (("CPU vendor", vendor), ("ACPI tables", tables))
        if isinstance(value, Unknown)
    )


def _iommu(facts: HostFacts) -> Finding:
    iommus = facts.iommus
    if isinstance(iommus, Unknown):
        return Finding(
            "iommu",
            Status.WARN,
            f"unknown: /sys/class/iommu {iommus}",
            "run this on the host itself as root",
        )
    if iommus:
        return Finding(
            "iommu", Status.PASS, f"the kernel runs {', '.join(iommus)}"
        )
    return Finding(
        "iommu",
        Status.FAIL,
        "the kernel runs none (/sys/class/iommu is empty)",
        "run 'gpu-passthrough host enable', which puts intel_iommu=on on an"
        " Intel host's kernel command line, then reboot",
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
        reason.remedy if reason else "see /sys/bus/pci/devices",
    )


def _assignable(groups: Sequence[Group]) -> Finding:
    held = [g for g in groups if g.primaries]
    fit = [g for g in held if g.verdict.is_assignable]
    said = f"{len(fit)} of {len(held)} groups that hold a selected function"
    if fit:
        return Finding("assignable", Status.PASS, said)
    return Finding(
        "assignable",
        Status.FAIL,
        said,
        "'gpu-passthrough group list' has the reasons, and 'group show' the"
        " remedies",
    )
