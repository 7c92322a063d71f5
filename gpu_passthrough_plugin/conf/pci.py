"""``[pci]``: what instances may request, in Nova's own syntax."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from oslo_config import cfg

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.conf.section import Section
from gpu_passthrough_plugin.formats import nova_alias
from gpu_passthrough_plugin.model.request import Alias

GROUP = "pci"

ALIAS = cfg.MultiStrOpt(
    "alias",
    default=[],
    sample_default=(
        '{"name": "gpu", "vendor_id": "10de", "product_id": "1430",'
        ' "device_type": "type-PCI"}',
    ),
    help="""
A name that a request uses, and what a card must be to satisfy it. The
syntax is that of OpenStack Nova's ``[pci] alias``, so that one line serves
both. It may be given several times; entries of one name are alternatives.

Only primaries count (see ``[discovery] select``): ``gpu:1`` asks for one
card, whose audio function comes along by itself.

Possible values:

* a JSON object with ``name``, and any of ``vendor_id``, ``product_id`` (4
  hexadecimal digits without 0x), ``device_type`` (``type-PCI``,
  ``type-PF``, ``type-VF``), ``numa_policy`` (``required``, ``preferred``,
  ``legacy``, ``socket``), ``resource_class``, ``traits``,
  ``live_migratable`` and ``capability_type``.
""",
)
OPTS = (ALIAS,)


@dataclasses.dataclass(frozen=True, slots=True)
class Pci:
    """The values of ``[pci]``: the aliases by name."""

    aliases: Mapping[str, Alias]


def parse(section: Section) -> Pci:
    """Return the group's values; add what is wrong to ``section.faults``."""
    try:
        return Pci(nova_alias.parse_aliases(section.value(ALIAS)))
    except errors.Faults as faults:
        path = section.place(ALIAS)
        section.faults.extend(f"{path}: {line}" for line in faults.faults)
        return Pci({})
