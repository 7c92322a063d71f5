"""Releases of Nova: names, and which options and keys each supports."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin import errors

# A version, or a development one such as 34.0.0.0rc1.
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*((\.0)?(rc|b|\.dev)[0-9]+)?")


class Feature(enum.StrEnum):
    """An option, key or check that not every release has."""

    REPORT = "[pci] report_in_placement"
    SCHEDULE = "[filter_scheduler] pci_in_placement"
    SPEC_CLASS = "resource_class in device_spec"
    SPEC_TRAITS = "traits in device_spec"
    SPEC_MANAGED = "managed in device_spec"
    SPEC_MIGRATABLE = "live_migratable in device_spec"
    SPEC_ONCE = "one_time_use in device_spec"
    ALIAS_CLASS = "resource_class in alias"
    ALIAS_TRAITS = "traits in alias"
    ALIAS_MIGRATABLE = "live_migratable in alias"
    ALIAS_CHECKED = "aliases checked when a service starts"
    ONE_POOL = "one pool of each resource provider"
    TRAIT_MIGRATABLE = "trait HW_PCI_LIVE_MIGRATABLE"
    TRAIT_OWNER = "trait OWNER_NOVA on PCI devices"
    ADDRESS_BITS = "hw:maxphysaddr_mode in flavors"
    CANDIDATES = "[placement] max_allocation_candidates"
    WIDE_TREES = "[workarounds] optimize_for_wide_provider_trees"


# The first release that supports each; Placement's by the release of Nova of
# the same cycle (Nova 28, Placement 10).  Source: nova/conf/pci.py,
# nova/conf/scheduler.py, nova/pci/devspec.py, nova/pci/request.py,
# nova/pci/stats.py and nova/compute/manager.py of the last point release of
# each series, 26.3.0 to 34.0.0.  Placement's limit:
# placement/conf/placement.py of 8.0.0 to 16.0.0; it was added in 13 and
# backported to the last point releases of 10, 11 and 12.  Its option for wide
# trees was added in 15; it is in 13.0.1 as well, but not in 14.0.0.
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
    Feature.ALIAS_CHECKED: 31,
    Feature.ONE_POOL: 29,
    Feature.TRAIT_MIGRATABLE: 34,
    Feature.TRAIT_OWNER: 34,
    Feature.ADDRESS_BITS: 28,
    Feature.CANDIDATES: 28,
    Feature.WIDE_TREES: 33,
}

# Source: https://releases.openstack.org/, data/series_status.yaml.
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
_CODE_NAMES: Mapping[int, str] = {
    26: "zed",
    27: "antelope",
    28: "bobcat",
    29: "caracal",
    30: "dalmatian",
    31: "epoxy",
    32: "flamingo",
    33: "gazpacho",
    34: "hibiscus",
}


class Release(NamedTuple):
    """A release of Nova by its number, one of ``CYCLES``."""

    number: int

    def knows(self, feature: Feature) -> bool:
        """Return whether this release supports the feature."""
        return self.number >= SINCE[feature]

    @property
    def has_placement(self) -> bool:
        """Return whether it can schedule PCI devices with Placement."""
        return self.knows(Feature.SCHEDULE)

    def __str__(self) -> str:
        return f"Nova {self.number} ({CYCLES[self.number]})"


OLDEST, NEWEST = Release(min(CYCLES)), Release(max(CYCLES))


def parse(text: str) -> Release:
    """Return the release that ``text`` names.

    :param text: a number or version such as ``31`` or ``31.2.0``, or a
        cycle such as ``2025.1`` or ``epoxy``.
    :raises Invalid: when it names none of ``CYCLES``.
    """
    name = text.strip().lower()
    for number, cycle in CYCLES.items():
        is_number = name.partition(".")[0] == str(number)
        if name in (cycle, _CODE_NAMES[number]) or (
            is_number and _VERSION.fullmatch(name)
        ):
            return Release(number)
    raise errors.Invalid(
        f"{text!r} is not a supported release of Nova; expected"
        f" {OLDEST.number} to {NEWEST.number}, or a name such as"
        f" {CYCLES[NEWEST.number]} or {_CODE_NAMES[NEWEST.number]}"
    )
