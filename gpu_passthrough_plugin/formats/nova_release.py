"""What each release of Nova knows of PCI devices."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin import errors


class Feature(enum.StrEnum):
    """What not every release knows, as an operator writes it."""

    REPORT = "[pci] report_in_placement"
    SCHEDULE = "[filter_scheduler] pci_in_placement"
    SPEC_CLASS = "resource_class of a device_spec"
    SPEC_TRAITS = "traits of a device_spec"
    SPEC_MANAGED = "managed of a device_spec"
    SPEC_MIGRATABLE = "live_migratable of a device_spec"
    SPEC_ONCE = "one_time_use of a device_spec"
    ALIAS_CLASS = "resource_class of an alias"
    ALIAS_TRAITS = "traits of an alias"
    ALIAS_MIGRATABLE = "live_migratable of an alias"
    CANDIDATES = "[placement] max_allocation_candidates"
    WIDE_TREES = "[workarounds] optimize_for_wide_provider_trees"


# The first release that knows each.  Source: nova/conf/pci.py,
# nova/conf/scheduler.py, nova/pci/devspec.py and nova/pci/request.py of the
# last point release of each series, 26.3.0 to 34.0.0.  Placement's limit:
# placement/conf/placement.py of 8.0.0 to 16.0.0; it came with 13 and was
# taken back into the last point releases of 10, 11 and 12.  What it does for
# wide trees came with 15, and is in 13.0.1 but not in 14.0.0.
SINCE: Mapping[Feature, int] = {
    Feature.REPORT: 26,
    Feature.SCHEDULE: 27,
    Feature.SPEC_CLASS: 26,
    Feature.SPEC_TRAITS: 26,
    Feature.SPEC_MANAGED: 31,
    Feature.SPEC_MIGRATABLE: 31,
    Feature.SPEC_ONCE: 32,
    Feature.ALIAS_CLASS: 27,
    Feature.ALIAS_TRAITS: 27,
    Feature.ALIAS_MIGRATABLE: 31,
    Feature.CANDIDATES: 28,
    Feature.WIDE_TREES: 33,
}

# Source: https://releases.openstack.org/
CYCLES: Mapping[int, str] = {
    26: "zed",
    27: "2023.1",
    28: "2023.2",
    29: "2024.1",
    30: "2024.2",
    31: "2025.1",
    32: "2025.2",
    33: "2026.1",
    34: "2026.2",
}


class Release(NamedTuple):
    """A release of Nova by its number, one of ``CYCLES``."""

    number: int

    def knows(self, feature: Feature) -> bool:
        """Whether it takes this, and does what it says."""
        return self.number >= SINCE[feature]

    @property
    def has_placement(self) -> bool:
        """Whether it schedules PCI devices by what Placement says."""
        return self.knows(Feature.SCHEDULE)

    def __str__(self) -> str:
        return f"Nova {self.number} ({CYCLES[self.number]})"


OLDEST, NEWEST = Release(min(CYCLES)), Release(max(CYCLES))


def parse(text: str) -> Release:
    """The release that ``text`` names: ``31``, ``31.2.0`` or ``2025.1``.

    :raises Invalid: when it is none that something is known of.
    """
    wanted = text.strip().lower()
    for number, cycle in CYCLES.items():
        if wanted == cycle or wanted.split(".")[0] == str(number):
            return Release(number)
    raise errors.Invalid(
        f"{text!r} is no release of Nova that can be written for; wanted"
        f" {OLDEST.number} to {NEWEST.number}, or a cycle such as"
        f" {CYCLES[NEWEST.number]}"
    )
