"""``nova recycle``: give back the devices that Nova reserved for one use."""

from __future__ import annotations

import argparse
from typing import Any

from gpu_passthrough_plugin.cli.command import Lister, add_dry_run, rows

COLUMNS = ("Provider", "Resource Class", "Result", "Detail")


class NovaRecycle(Lister):
    """Clean and give back this host's devices that Nova used once.

    Nova reserves a device with one_time_use in Placement when an instance
    gets it. Those that are nobody's any more are reset and checked with
    their whole IOMMU group, and then unreserved; what is in use or not clean
    stays reserved. The exit status is 1 if one stays reserved.
    """

    column_names = COLUMNS
    empty = "Nothing to do: no device waits to be given back."

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--host",
            metavar="NAME",
            help="Nova's name of this host's hypervisor, as 'openstack"
            " hypervisor list' shows it (default: [DEFAULT] host)",
        )
        add_dry_run(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow.recycle import recycle
        from gpu_passthrough_plugin.model.one_time_use import RecycleResult

        context = self.context.host_context
        providers = self.context.pci_providers()
        try:
            recycled = recycle(
                context,
                providers,
                parsed_args.host or context.host,
                is_dry=parsed_args.dry_run,
            )
        finally:
            providers.close()
        if any(one.result is RecycleResult.LEFT for one in recycled):
            self.status = 1
        return COLUMNS, rows(
            *(
                (
                    one.provider.name,
                    ", ".join(
                        amounts.resource_class
                        for amounts in one.provider.inventories
                    ),
                    str(one.result),
                    one.detail,
                )
                for one in recycled
            )
        )
