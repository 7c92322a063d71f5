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
A name for requests, and which cards match it. The syntax is that of
OpenStack Nova's ``[pci] alias``, so that both can use the same line. The
option may be given several times; entries of the same name are alternatives.

Only primaries are counted (see ``[discovery] select``): ``gpu:1`` requests
one card; its audio function is included.

Possible values:

* a JSON object with ``name``, and any of ``vendor_id``, ``product_id`` (4
  hexadecimal digits without 0x), ``device_type`` (``type-PCI``,
  ``type-PF``, ``type-VF``), ``numa_policy`` (``required``, ``preferred``,
  ``legacy``, ``socket``), ``resource_class``, ``traits``,
  ``live_migratable`` and ``capability_type``.

Without ``device_type`` a whole card matches here, whether or not it can do
SR-IOV (``type-PF``: A40, L40S, H100). Nova matches a ``type-PF`` only if the
alias says so.
""",
)
OPTS = (ALIAS,)
# Source: nova, conf/pci.py (2026.1, and the names it deprecates).
_NOVAS = frozenset(
    {"alias", "device_spec", "passthrough_whitelist", "report_in_placement"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Pci:
    """The values of ``[pci]``: the aliases by name."""

    aliases: Mapping[str, Alias]


def parse(section: Section) -> Pci:
    """Return the group's values; add its faults to ``section.faults``."""
    section.check_names(_NOVAS, are_complete=False)
    try:
        return Pci(nova_alias.parse_aliases(section.value(ALIAS)))
    except errors.Faults as faults:
        path = section.source(ALIAS)
        section.faults.extend(f"{path}: {line}" for line in faults.faults)
        return Pci({})
