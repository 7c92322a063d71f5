"""``[allocation]``: the ledger's driver, and what this host publishes."""

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
from gpu_passthrough_plugin.model.event import Retention
from gpu_passthrough_plugin.model.trait import ConfiguredTraits

GROUP = "allocation"
NAMESPACE = "gpu_passthrough_plugin.allocation"

DRIVER = cfg.StrOpt(
    "driver",
    default="sql",
    help=f"""
Driver that stores the ledger. All hosts of a cloud use the same one.

Possible values:

* ``sql``: the database of ``[database] connection``;
* ``placement``: OpenStack Placement itself, as configured in
  ``[placement]``;
* the name of any other entry point in ``{NAMESPACE}``.
""",
)
WEIGHT = cfg.StrOpt(
    "weight",
    default=Weight.PACK.value,
    help="""
Which host is preferred among those that can satisfy a request.

Possible values:

* ``pack``: the host with the fewest free units, so that whole hosts stay
  free for large requests;
* ``spread``: the host with the most free units, so that the load is even.
""",
)
AGGREGATES = cfg.ListOpt(
    "aggregates",
    default=[],
    help="""
Host aggregates that this host is in. A request may be limited to the hosts
of an aggregate. ``inventory sync`` publishes them.

Possible values:

* any names, separated by commas.
""",
)
TRAITS = cfg.MultiStrOpt(
    "traits",
    default=[],
    sample_default=("10de:1430=CUSTOM_RENDER,HW_GPU_API_VULKAN",),
    help="""
Traits of this host's units, which an alias may require and a request may
forbid. The option may be given several times. A unit has the traits of all
its functions. ``inventory sync`` publishes them.

Possible values:

* ``SELECTOR=TRAIT[,TRAIT]``: a selector of functions as in ``[discovery]
  select``; traits of Placement: ``CUSTOM_`` with capitals, digits and ``_``,
  or standard ones.
""",
)
EVENT_DAYS = cfg.IntOpt(
    "event_days",
    default=Retention().days,
    min=0,
    max=36_500,
    help="""
How many days events are kept that say when and by whom units were claimed,
released, quarantined and cleared. 0 keeps them at any age. Some of the
commands that change a unit remove older ones.
""",
)
EVENT_LIMIT = cfg.IntOpt(
    "event_limit",
    default=Retention().number,
    min=0,
    max=100_000_000,
    help="""
How many events are kept at least before the oldest are removed: of all hosts
in a database, of this host where the ledger has no place for events (driver
``placement``). 0 keeps any number.
""",
)
OPTS = (DRIVER, WEIGHT, AGGREGATES, TRAITS, EVENT_DAYS, EVENT_LIMIT)

# Source: nova, api/openstack/compute/schemas/aggregates.py (name).
_MAX_LENGTH = 255
_EXPECTED = (
    "expected SELECTOR=TRAIT[,TRAIT] with a selector such as 10de:1430,"
    " class=0302 or 0000:06:00.*"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Allocation:
    """The values of ``[allocation]``.

    :param driver: an entry point's name in ``NAMESPACE``.
    :param weight: which host is preferred.
    :param aggregates: the host aggregates that this host is in.
    :param traits: the traits of this host's units, by selector.
    :param retention: how many events are kept.
    """

    driver: str
    weight: Weight
    aggregates: frozenset[str]
    traits: tuple[ConfiguredTraits, ...]
    retention: Retention = dataclasses.field(default_factory=Retention)


def parse(section: Section) -> Allocation:
    """Return the group's values; add its faults to ``section.faults``."""
    return Allocation(
        _driver(section),
        _weight(section),
        _aggregates(section),
        tuple(_given(section)),
        Retention(
            int(section.value(EVENT_DAYS)), int(section.value(EVENT_LIMIT))
        ),
    )


def _driver(section: Section) -> str:
    driver = str(section.value(DRIVER))
    # Finding entry points reads the metadata of every installed package;
    # the default is always installed.
    if driver != DRIVER.default:
        names = installed_drivers(NAMESPACE) | {DRIVER.default}
        if driver not in names:
            section.fault(DRIVER, expected_driver(names))
    return driver


def _weight(section: Section) -> Weight:
    try:
        return Weight(section.value(WEIGHT))
    except ValueError:
        section.fault(WEIGHT, f"expected one of: {', '.join(Weight)}")
        return Weight.PACK


def _aggregates(section: Section) -> frozenset[str]:
    names = frozenset(section.value(AGGREGATES))
    for name in sorted(names):
        if not (0 < len(name) <= _MAX_LENGTH and name.isprintable()):
            section.fault(
                AGGREGATES,
                f"expected names of 1 to {_MAX_LENGTH} printable characters",
                name,
            )
    return names


def _given(section: Section) -> Iterator[ConfiguredTraits]:
    for line in section.value(TRAITS):
        # A selector may have an equals sign, but a trait has none.
        text, _, names = line.rpartition("=")
        traits = frozenset(name.strip() for name in names.split(","))
        for name in sorted(traits):
            if not trait.is_trait(name):
                expected = f"expected a trait: {trait.EXPECTED}; not {name!r}"
                section.fault(TRAITS, expected, line)
        try:
            yield ConfiguredTraits(selector.parse(text), traits)
        except errors.Invalid:
            section.fault(TRAITS, _EXPECTED, line)
