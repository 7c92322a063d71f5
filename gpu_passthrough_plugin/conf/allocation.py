"""``[allocation]``: who keeps the ledger, and what this host says in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from oslo_config import cfg

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.conf.section import (
    Section,
    expected_driver,
    installed_drivers,
)
from gpu_passthrough_plugin.model import selector, trait
from gpu_passthrough_plugin.model.allocation import Weight
from gpu_passthrough_plugin.model.trait import Given

GROUP = "allocation"
NAMESPACE = "gpu_passthrough_plugin.allocation"

DRIVER = cfg.StrOpt(
    "driver",
    default="sql",
    help=f"""
Driver that keeps the ledger. All hosts of a cloud use the same one.

Possible values:

* ``sql``: the database that ``[database] connection`` names;
* ``placement``: OpenStack Placement itself, as ``[placement]`` says;
* the name of any other entry point in ``{NAMESPACE}``.
""",
)
WEIGHT = cfg.StrOpt(
    "weight",
    default=Weight.PACK.value,
    help="""
Which of the hosts that have what is asked for is taken first.

Possible values:

* ``pack``: the one with the fewest free, so that whole hosts stay free for
  those who ask for many;
* ``spread``: the one with the most free, so that the load is even.
""",
)
AGGREGATES = cfg.ListOpt(
    "aggregates",
    default=[],
    help="""
Host aggregates that this host is in: names that a request may hold the
choice of a host to. ``inventory sync`` publishes them.

Possible values:

* any names, separated by commas.
""",
)
TRAITS = cfg.MultiStrOpt(
    "traits",
    default=[],
    sample_default=("10de:1430=CUSTOM_RENDER,HW_GPU_API_VULKAN",),
    help="""
Traits of this host's units, by which an alias may ask for them and a
request may refuse them. It may be given several times. A unit has those of
each of its functions. ``inventory sync`` publishes them.

Possible values:

* ``SELECTOR=TRAIT[,TRAIT]``: what selects functions is as in
  ``[discovery] select``; a trait is one of Placement's: ``CUSTOM_`` with
  capitals, digits and ``_``, or a standard one.
""",
)
OPTS = (DRIVER, WEIGHT, AGGREGATES, TRAITS)

# Source: nova, api/openstack/compute/schemas/aggregates.py (name).
_LONGEST = 255
_WANTED = (
    "wanted SELECTOR=TRAIT[,TRAIT] with a selector such as 10de:1430,"
    " class=0302 or 0000:06:00.*"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Allocation:
    """What ``[allocation]`` says.

    :param driver: an entry point's name in ``NAMESPACE``.
    :param weight: which host is taken first.
    :param aggregates: the host aggregates that this host is in.
    :param traits: what this host's units are given.
    """

    driver: str
    weight: Weight
    aggregates: frozenset[str]
    traits: tuple[Given, ...]


def parse(section: Section) -> Allocation:
    """The group's values; what is wrong in it is in ``section.faults``."""
    return Allocation(
        _driver(section),
        _weight(section),
        _aggregates(section),
        tuple(_given(section)),
    )


def _driver(section: Section) -> str:
    driver = str(section.value(DRIVER))
    # Looking for entry points reads the metadata of everything that is
    # installed; the default needs no looking for.
    if driver != DRIVER.default:
        names = installed_drivers(NAMESPACE) | {DRIVER.default}
        if driver not in names:
            section.fault(DRIVER, expected_driver(names))
    return driver


def _weight(section: Section) -> Weight:
    try:
        return Weight(section.value(WEIGHT))
    except ValueError:
        section.fault(WEIGHT, f"wanted one of: {', '.join(Weight)}")
        return Weight.PACK


def _aggregates(section: Section) -> frozenset[str]:
    names = frozenset(section.value(AGGREGATES))
    for name in sorted(names):
        if not (0 < len(name) <= _LONGEST and name.isprintable()):
            section.fault(
                AGGREGATES,
                f"wanted names of 1 to {_LONGEST} characters that can be"
                " printed",
                name,
            )
    return names


def _given(section: Section) -> Iterator[Given]:
    for line in section.value(TRAITS):
        # A selector may have an equals sign, and a trait has none.
        text, _, names = line.rpartition("=")
        traits = frozenset(name.strip() for name in names.split(","))
        for name in sorted(traits):
            if not trait.is_trait(name):
                wanted = f"wanted a trait: {trait.EXPECTED}; not {name!r}"
                section.fault(TRAITS, wanted, line)
        try:
            yield Given(selector.parse(text), traits)
        except errors.Invalid:
            section.fault(TRAITS, _WANTED, line)
