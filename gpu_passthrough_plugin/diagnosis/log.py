"""What the kernel's log says of one function."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpu_passthrough_plugin.diagnosis.evidence import Case, Evidence
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import Unknown

# The kernel prints it while it parses the argument, whether or not an IOMMU
# comes up: it proves nothing.
# Source: kernel, drivers/iommu/intel/iommu.c (intel_iommu_setup).
_EMPTY_WORDS = re.compile(r"\bDMAR: IOMMU enabled\b")


def lines(evidence: Evidence) -> tuple[str, ...]:
    """The log without what proves nothing; nothing where it is unknown."""
    log = evidence.log
    if isinstance(log, Unknown):
        return ()
    return tuple(line for line in log if not _EMPTY_WORDS.search(line))


def first(evidence: Evidence, *patterns: str) -> str | None:
    """The first line in which one of these matches, whatever the case."""
    form = re.compile("|".join(patterns), re.IGNORECASE)
    return next((ln for ln in lines(evidence) if form.search(ln)), None)


def of(evidence: Evidence, address: Address) -> Iterator[str]:
    """Lines that name a function, oldest first."""
    form = re.compile(rf"(?<![0-9a-f:]){re.escape(str(address))}(?![0-9a-f])")
    return (line for line in lines(evidence) if form.search(line))


def own(case: Case, *patterns: str) -> str | None:
    """The first line about the case's function that matches."""
    form = re.compile("|".join(patterns), re.IGNORECASE)
    said = of(case.evidence, case.target.address)
    return next((line for line in said if form.search(line)), None)


def refusal(case: Case) -> str | None:
    """Where vfio-pci said that it does not take the function.

    Source: kernel, drivers/base/dd.c (really_probe), before and from 6.6 on.
    """
    return own(
        case,
        r"vfio.*probe of \S+ failed with error -\d+",
        r"vfio.*probe with driver \S+ failed with error -\d+",
    )
