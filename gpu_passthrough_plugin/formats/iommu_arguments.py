"""How the kernel is told to use its IOMMU, as its command line says it.

Source: kernel, Documentation/admin-guide/kernel-parameters.txt,
drivers/iommu/intel/iommu.c (intel_iommu_setup), drivers/iommu/amd/init.c
(parse_amd_iommu_options), arch/x86/kernel/pci-dma.c (iommu_setup) and
kernel/params.c (parameq: ``-`` and ``_`` in a name are the same).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin.model.facts import (
    IOMMU_TABLES,
    CpuVendor,
    HostFacts,
)
from gpu_passthrough_plugin.model.reading import Unknown

INTEL = "intel_iommu"
ON = f"{INTEL}=on"

# ``iommu=off`` stops every maker's.
_ANY = "iommu"
_PARAMETERS = {CpuVendor.INTEL: INTEL, CpuVendor.AMD: "amd_iommu"}
_OPTIONS = frozenset(
    {
        "forcedac", "igfx_off", "off", "on", "sm_off", "sm_on", "sp_off",
        "strict", "tboot_noforce",
    }
)  # fmt: skip
# Written for it, and nothing that turns it on.
_MISTAKEN = frozenset({"iommu=on", "iommu=1"})
_MOST_EDITS = 2


def parameter(facts: HostFacts) -> str:
    """The parameter that the host's IOMMU obeys; empty where none is known.

    The firmware's table decides before the CPU's maker does: an emulated
    host mixes them.
    """
    tables, vendor = facts.acpi_tables, facts.cpu_vendor
    if not isinstance(tables, Unknown):
        for maker, table in IOMMU_TABLES.items():
            if table in tables:
                return _PARAMETERS[maker]
    return "" if isinstance(vendor, Unknown) else _PARAMETERS.get(vendor, "")


def turned_off(words: Sequence[str], parameter: str) -> str | None:
    """What turns it off, such as ``iommu=off``; None where nothing does.

    Of Intel's the last switch counts; the others are never taken back.
    """
    for name in (_ANY, parameter):
        said = list(switches(words, name))
        if name == INTEL:
            said = said[-1:]
        if "off" in said:
            return f"{name}=off"
    return None


def switches(words: Sequence[str], name: str) -> Iterator[str]:
    """Each ``on`` and ``off`` that a parameter is given, in order.

    Values are lists with commas, such as ``intel_iommu=on,sm_on``.
    """
    for word in words:
        spelled, _, values = word.partition("=")
        if name and spelled.replace("-", "_") == name:
            yield from (v for v in values.split(",") if v in ("on", "off"))


def misspelt(words: Sequence[str]) -> str | None:
    """A word that was to be ``intel_iommu=on`` and is not."""
    return next((word for word in words if _is_misspelt(word)), None)


def _is_misspelt(word: str) -> bool:
    if word in _MISTAKEN:
        return True
    spelled, _, values = word.partition("=")
    name = spelled.replace("-", "_")
    if name == INTEL:
        return not _OPTIONS.intersection(values.split(","))
    return 0 < _edits(name, INTEL) <= _MOST_EDITS


def _edits(one: str, other: str) -> int:
    """How many letters have to be put in, taken out or changed."""
    if abs(len(one) - len(other)) > _MOST_EDITS:
        return _MOST_EDITS + 1
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        before, row = row, [at]
        for to, wanted in enumerate(other, 1):
            changed = before[to - 1] + (letter != wanted)
            row.append(min(changed, before[to] + 1, row[to - 1] + 1))
    return row[-1]
