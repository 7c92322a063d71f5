"""``agent reconcile``: one pass of ``gpu-passthrough-agent``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin.cli import agent_group, agent_service
from gpu_passthrough_plugin.cli.agent_service import detail
from gpu_passthrough_plugin.cli.command import Lister, add_dry_run, rows

if TYPE_CHECKING:
    from gpu_passthrough_plugin.flow.agent import Outcome

COLUMNS = ("Unit", "Finding", "Act", "Result", "Detail")
_IN_STEP = (
    "Nothing to do: the ledger, this host's journal, libvirt and the kernel"
    " agree."
)


def outcome_rows(outcomes: Iterable[Outcome]) -> Any:
    """Return a row for each finding of a pass."""
    return rows(
        *(
            (
                outcome.finding.subject,
                str(outcome.finding.case),
                str(outcome.finding.act),
                str(outcome.result),
                detail(outcome),
            )
            for outcome in outcomes
        )
    )


class AgentReconcile(Lister):
    """Compare ledger, journal, libvirt and kernel, and mend what differs.

    One pass of gpu-passthrough-agent. Releases what guests that have ended
    left, records running guests that the ledger does not have, and publishes
    the units of this host. It touches no guest that runs. The exit status is
    1 if something waits for a person, or failed.
    """

    column_names = COLUMNS
    empty = _IN_STEP

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_dry_run(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import agent

        recycling = agent_service.RecyclingCache().recycling(self.context)
        try:
            results = agent_service.outcomes(
                self.context,
                agent.UnitCache(),
                recycling,
                is_dry=parsed_args.dry_run,
                is_away=lambda: agent_group.is_away(
                    self.context, self.context.settings.host
                ),
            )
        finally:
            if recycling is not None:
                recycling.close()
        if any(outcome.waits_for_person for outcome in results):
            self.status = 1
        return COLUMNS, outcome_rows(results)
