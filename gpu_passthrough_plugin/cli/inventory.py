"""``inventory``: what hosts offer, in the ledger."""

from __future__ import annotations

import argparse
from typing import Any

from gpu_passthrough_plugin.cli.command import Lister, rows
from gpu_passthrough_plugin.model.unit import UnitRecord

COLUMNS = ("Host", "Unit", "Resource Class", "NUMA Node", "State", "Consumer")


def row(record: UnitRecord) -> tuple[object, ...]:
    """A unit under the columns of an inventory."""
    unit = record.unit
    return (
        unit.key.host,
        str(unit.key.address),
        unit.resource_class,
        unit.numa_node,
        "missing" if record.is_missing else str(record.state),
        record.consumer,
    )


class InventorySync(Lister):
    """Publish what this host can hand out; changes only what changed."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import verbs

        site = self.context.site
        report = verbs.publish(site)
        site.say(
            f"{len(report.added)} added, {len(report.changed)} changed,"
            f" {len(report.removed)} removed, {len(report.missing)} missing;"
            f" {site.host} is at generation {report.generation}"
        )
        return COLUMNS, rows(*(row(r) for r in site.records()))


class InventoryList(Lister):
    """List the units of every host."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        records = self.context.ledger.records()
        return COLUMNS, rows(*(row(r) for r in records))
