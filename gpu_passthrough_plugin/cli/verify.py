"""``host verify`` and ``host report``: what became of it, and why."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin.cli.command import Command, Lister, rows
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.reading import shown

if TYPE_CHECKING:
    from gpu_passthrough_plugin.diagnosis.evidence import Cause
    from gpu_passthrough_plugin.diagnosis.verify import Verified

COLUMNS = (
    "Address",
    "Expected",
    "Found",
    "Status",
    "IOMMU Group",
    "Reset Methods",
    "Cause",
    "Fix",
)


class HostVerify(Lister):
    """Check that each selected function is on vfio-pci, and say why not.

    Causes are ranked, the most likely first, each with the evidence for
    it, how sure it is, and what to do. Ends with 1 when one is not there.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--report",
            metavar="FILE",
            help="explain a host by what 'host report' wrote on it",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.flow import report, verification

        context = self.context
        if parsed_args.report:
            there = report.read(parsed_args.report)
            tree, known = there.tree, there.known
        else:
            tree, known = context.tree, context.known
        found = verification.verified(tree, context.policy, known)
        if any(row.status is Status.FAIL for row in found):
            self.status = 1
        return COLUMNS, rows(*map(_row, found))


class HostReport(Command):
    """Write what explains this host to someone elsewhere.

    Its recording, the lines of the kernel's log that matter, how it boots,
    and what was done to it; without serial numbers and hardware addresses.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE.tar.zst")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.cli.host import save
        from gpu_passthrough_plugin.flow import report

        context = self.context
        save(parsed_args.file, report.written(context.tree, context.known))


def _row(found: Verified) -> tuple[object, ...]:
    causes = found.causes
    return (
        str(found.address),
        found.expected,
        found.found,
        str(found.status),
        found.iommu_group,
        found.reset_methods,
        tuple(_numbered(causes)),
        tuple(f"{n}. {cause.fix}" for n, cause in enumerate(causes, 1)),
    )


def _numbered(causes: tuple[Cause, ...]) -> Iterator[str]:
    """Each cause, how sure it is, and the line that shows it."""
    for number, cause in enumerate(causes, 1):
        yield f"{number}. {cause} [{cause.confidence}] {shown(cause.evidence)}"
