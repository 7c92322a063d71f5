"""Why a host has no IOMMU groups."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_passthrough_plugin.model.facts import (
    IOMMU_TABLES,
    CpuVendor,
    HostFacts,
)
from gpu_passthrough_plugin.model.group import Reason
from gpu_passthrough_plugin.model.reading import Unknown

RULE = "no-iommu"

FEATURE = {CpuVendor.INTEL: "VT-d", CpuVendor.AMD: "AMD-Vi (IOMMU)"}

# The parameter of each vendor's driver; ``iommu=off`` stops them all.
_PARAMETERS = {CpuVendor.INTEL: "intel_iommu", CpuVendor.AMD: "amd_iommu"}
_WANTED = "intel_iommu=on"


def absence(facts: HostFacts) -> Reason:
    """The first of firmware, kernel argument and start-up that explains it.

    Source: kernel, Documentation/admin-guide/kernel-parameters.txt,
    drivers/iommu/intel/iommu.c (intel_iommu_setup), drivers/iommu/amd/init.c
    (parse_amd_iommu_options) and arch/x86/kernel/pci-dma.c (iommu_setup).
    """
    return (
        _not_covered(facts)
        or _firmware(facts)
        or _switched_off(facts)
        or _not_switched_on(facts)
        or _not_started(facts)
        or Reason(
            RULE,
            "in no IOMMU group; why is unknown: the host's facts could not"
            " be read",
            "run this on the host itself as root",
        )
    )


def _not_covered(facts: HostFacts) -> Reason | None:
    if isinstance(facts.iommus, Unknown) or not facts.iommus:
        return None
    return Reason(
        RULE,
        "in no IOMMU group, although the kernel runs"
        f" {', '.join(facts.iommus)}: none of them covers this function",
        "leave it to the host, or move the card to another slot",
    )


def _firmware(facts: HostFacts) -> Reason | None:
    vendor, tables = facts.cpu_vendor, facts.acpi_tables
    if isinstance(vendor, Unknown) or isinstance(tables, Unknown):
        return None
    table = IOMMU_TABLES.get(vendor)
    # Either maker's table will do: an emulated host mixes them.
    if table is None or tables.intersection(IOMMU_TABLES.values()):
        return None
    return Reason(
        RULE,
        f"in no IOMMU group: the firmware has no {table} table",
        f"turn {FEATURE[vendor]} on in the firmware's setup",
    )


def _switched_off(facts: HostFacts) -> Reason | None:
    words = facts.kernel_arguments
    if isinstance(words, Unknown):
        return None
    parameter = _parameter(facts)
    off = next(
        (
            word
            for name in ("iommu", parameter)
            if name and (word := _last_switch(words, name)).endswith("off")
        ),
        None,
    )
    if off is None:
        return None
    return Reason(
        RULE,
        f"in no IOMMU group: the kernel was started with {off}",
        f"take {off} off the kernel command line and reboot",
    )


def _not_switched_on(facts: HostFacts) -> Reason | None:
    words = facts.kernel_arguments
    if isinstance(words, Unknown) or facts.cpu_vendor is not CpuVendor.INTEL:
        return None
    if _last_switch(words, "intel_iommu"):
        return None
    # Only a host without groups pays for it.
    import difflib

    typo = difflib.get_close_matches(_WANTED, words, n=1, cutoff=0.8)
    if typo:
        return Reason(
            RULE,
            f"in no IOMMU group: the kernel was started with {typo[0]},"
            " which it does not know and does not complain of",
            f"write {_WANTED} in its place and reboot",
        )
    return Reason(
        RULE,
        f"in no IOMMU group: the kernel was started without {_WANTED}",
        f"add {_WANTED} to the kernel command line and reboot",
    )


def _parameter(facts: HostFacts) -> str:
    vendor = facts.cpu_vendor
    return "" if isinstance(vendor, Unknown) else _PARAMETERS.get(vendor, "")


def _last_switch(words: Sequence[str], name: str) -> str:
    """The last ``NAME=on`` or ``NAME=off`` that counts; empty for none.

    Values are lists with commas, such as ``intel_iommu=on,sm_on``; a later
    one takes an earlier one back.
    """
    switches = [
        f"{name}={value}"
        for word in words
        if word.startswith(f"{name}=")
        for value in word.removeprefix(f"{name}=").split(",")
        if value in ("on", "off")
    ]
    return switches[-1] if switches else ""


def _not_started(facts: HostFacts) -> Reason | None:
    if isinstance(facts.iommus, Unknown) or facts.iommus:
        return None
    return Reason(
        RULE,
        "in no IOMMU group: the kernel started no IOMMU"
        " (/sys/class/iommu is empty)",
        "look for DMAR or AMD-Vi in the kernel's log, and whether the"
        " kernel was built with the IOMMU's driver",
    )
