"""``[discovery]``: which functions are for guests."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from gpu_passthrough_plugin import defaults, errors
from gpu_passthrough_plugin.conf.section import Section
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.selector import Selector

GROUP = "discovery"
_SPEC = """
Possible values, separated by commas; digits are hexadecimal, ``*`` stands
for any digits and ``?`` for one:

* ``10de:1430`` or ``10de:*``: vendor and product;
* ``class=0302`` or ``class=03*``: base class, subclass and interface, of
  which the last two may be left out;
* ``0000:06:00.0``: an address; ``0000:06:00`` or ``0000:06:00.*``: every
  function of a slot.
"""

SELECT = cfg.ListOpt(
    "select",
    default=list(defaults.SELECT),
    help=f"""
Functions that guests may be given: the primaries of their IOMMU groups. The
other functions of such a card are given along with it. A group without a
selected function stays with the host, and so does a group that also has a
card which is not selected. The default is every display and every processing
accelerator, except accelerators that are part of the host's processor. {_SPEC}
What 'gpu-passthrough host enable' was told by --select, --deselect or --only
is remembered on the host, in /etc/gpu-passthrough/selection.conf. Where that
file sets ``select``, it overrides this option.

Related options:

* ``exclude`` overrides this option.
""",
)
EXCLUDE = cfg.ListOpt(
    "exclude",
    default=list(defaults.EXCLUDE),
    help=f"""
Functions that no guest may ever be given, alone or along with another. A
group that has such a function stays with the host.
{_SPEC}""",
)
PCI_IDS = cfg.StrOpt(
    "pci_ids",
    default=defaults.PCI_IDS,
    help="""
Database of the names of vendors and products. If the file is missing, the
copy in this package is used.

Possible values:

* an absolute path.
""",
)
UNISOLATED = cfg.StrOpt(
    "unisolated",
    default="warn",
    choices=[
        ("warn", "it is assigned; a note, and its unit's trait, tell"),
        ("refuse", "it stays with the host"),
    ],
    help="""
What becomes of a group that the hardware may not isolate although the
kernel made it: the kernel was started with pcie_acs_override, or a port of
a switch above it has no Access Control Services in force. Guests that do
not trust each other must not have such groups.

Its unit has the trait CUSTOM_IOMMU_UNISOLATED, which a request can forbid.
""",
)
OPTS = (SELECT, EXCLUDE, PCI_IDS, UNISOLATED)


@dataclasses.dataclass(frozen=True, slots=True)
class Discovery:
    """The values of ``[discovery]``.

    :param is_select_set: whether a file sets ``select``.
    :param pci_ids: an absolute path; the file may be missing.
    :param refuses_unisolated: whether a group that the hardware may not
        isolate stays with the host.
    """

    select: tuple[Selector, ...]
    is_select_set: bool
    exclude: tuple[Selector, ...]
    pci_ids: str
    refuses_unisolated: bool


def parse(section: Section) -> Discovery:
    """Return the group's values; add its faults to ``section.faults``."""
    path = str(section.value(PCI_IDS))
    if not path.startswith("/"):
        section.fault(PCI_IDS, "expected an absolute path")
    return Discovery(
        _selectors(section, SELECT),
        section.is_set(SELECT),
        _selectors(section, EXCLUDE),
        path,
        section.value(UNISOLATED) == "refuse",
    )


def _selectors(section: Section, option: cfg.Opt) -> tuple[Selector, ...]:
    selectors = []
    for text in section.value(option):
        try:
            selectors.append(selector.parse(text))
        except errors.Invalid:
            section.fault(option, selector.EXPECTED, text)
    return tuple(selectors)
