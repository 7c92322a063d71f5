"""What the kernel's command line tells its IOMMU drivers.

Source: Linux, Documentation/admin-guide/kernel-parameters.txt,
drivers/iommu/intel/iommu.c (intel_iommu_setup), drivers/iommu/amd/init.c
(parse_amd_iommu_options), arch/x86/kernel/pci-dma.c (iommu_setup).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin.formats import kernel_cmdline
from gpu_passthrough_plugin.model.host_facts import (
    IOMMU_TABLES,
    CpuVendor,
    HostFacts,
)
from gpu_passthrough_plugin.model.reading import Unknown

INTEL = "intel_iommu"
INTEL_ON = f"{INTEL}=on"

# ``iommu=off`` stops the IOMMU of every maker.
_ANY = "iommu"
_BY_ENABLE = (
    "the kernel command line ('gpu-passthrough host enable' does), then reboot"
)
_PARAMETERS = {CpuVendor.INTEL: INTEL, CpuVendor.AMD: "amd_iommu"}
_OPTIONS = (
    "forcedac", "igfx_off", "off", "on", "sm_off", "sm_on", "sp_off",
    "strict", "tboot_noforce",
)  # fmt: skip
_ACS_OVERRIDE = "pcie_acs_override"
# Written to turn it on, and ignored.
_IGNORED = frozenset({"iommu=on", "iommu=1"})


def parameter(facts: HostFacts) -> str:
    """Return the parameter that the host's IOMMU obeys, or "" if unknown.

    The firmware's table decides before the CPU's vendor does: an emulated
    host has a CPU of one vendor and an IOMMU of the other.
    """
    tables, vendor = facts.acpi_tables, facts.cpu_vendor
    if not isinstance(tables, Unknown):
        for maker, table in IOMMU_TABLES.items():
            if table in tables:
                return _PARAMETERS[maker]
    return "" if isinstance(vendor, Unknown) else _PARAMETERS.get(vendor, "")


def turned_off_by(words: Sequence[str], parameter: str) -> str | None:
    """Return the argument that turns it off, such as ``iommu=off``, or None.

    Of Intel's switches the last one counts; no other is ever revoked.
    """
    for name in (_ANY, parameter):
        values = list(switches(words, name))
        if name == INTEL:
            values = values[-1:]
        if "off" in values:
            return f"{name}=off"
    return None


def switches(words: Sequence[str], name: str) -> Iterator[str]:
    """Yield each ``on`` and ``off`` that a parameter is given, in order.

    Values are lists with commas, such as ``intel_iommu=on,sm_on``; the
    kernel compares only as many letters as its own word has.
    """
    for argument in kernel_cmdline.arguments(words):
        if name and argument.name == name:
            for value in argument.values or ():
                yield from (s for s in ("on", "off") if value.startswith(s))


def ineffective(words: Sequence[str]) -> str | None:
    """Return a word that was meant to be ``intel_iommu=on``, or None.

    That is a misspelt name, a name without a value that the kernel knows,
    or ``iommu=on``.
    """
    for word in kernel_cmdline.kernel_words(words):
        argument = kernel_cmdline.parse(word)
        if argument.name == INTEL:
            values = argument.values or ()
            if not any(value.startswith(_OPTIONS) for value in values):
                return word
        elif word in _IGNORED or kernel_cmdline.intended_name(
            argument.name, (INTEL,)
        ):
            return word
    return None


def acs_override(words: Sequence[str]) -> str | None:
    """Return the word that makes groups smaller than what is isolated.

    The argument is no option of the mainline kernel: those who patch it in
    have it.  Source: https://lkml.org/lkml/2013/5/30/513
    """
    for word in kernel_cmdline.kernel_words(words):
        argument = kernel_cmdline.parse(word)
        if argument.name == _ACS_OVERRIDE and argument.values is not None:
            return word
    return None


def interrupt_remapping_off(words: Sequence[str]) -> str | None:
    """Return the word that turns interrupt remapping off, or None.

    Source: Linux, drivers/iommu/irq_remapping.c (setup_nointremap,
    setup_irqremap).
    """
    for word in kernel_cmdline.kernel_words(words):
        argument = kernel_cmdline.parse(word)
        if argument.name == "nointremap":
            return word
        if argument.name == "intremap" and any(
            value.startswith("off") for value in argument.values or ()
        ):
            return word
    return None


def removal(argument: str) -> str:
    """Return the remedy for an argument that turns the IOMMU off."""
    return f"remove {argument} from {_BY_ENABLE}"


def replacement(argument: str) -> str:
    """Return the remedy for a misspelt argument."""
    return f"replace {argument} with {INTEL_ON} on {_BY_ENABLE}"


ADDITION = f"add {INTEL_ON} to {_BY_ENABLE}"
"""The remedy where no argument turns Intel's IOMMU on."""
