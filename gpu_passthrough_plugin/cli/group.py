"""``group``: IOMMU groups, and whether each is assignable."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import fastpath, findings, group_findings
from gpu_passthrough_plugin.cli.command import Shower, rows
from gpu_passthrough_plugin.cli.finding_lister import (
    FindingLister,
    FindingsField,
)
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.group import Group, Member
from gpu_passthrough_plugin.model.reading import shown
from gpu_passthrough_plugin.model.selector import SelectionState


class GroupList(FindingLister):
    """List IOMMU groups with the verdict on each."""

    reads_only = True
    result: fastpath.GroupListing

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--assignable",
            action="store_true",
            help="list only assignable groups",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        self.result = fastpath.groups(
            self.context, assignable_only=parsed_args.assignable
        )
        cells = (
            (*row, FindingsField(group_findings.diagnoses(group)))
            for group, row in zip(
                self.result.groups, self.result.rows(), strict=True
            )
        )
        return (*fastpath.GROUP, findings.COLUMN), rows(*cells)

    def text(self, width: int | None) -> Iterable[str]:
        return self.result.text(width)


class GroupShow(Shower):
    """Show one IOMMU group: its members, the verdict, and the remedies."""

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "group",
            help="number of the group, or the address of a function in it",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        requested = _number_or_address(parsed_args.group)
        snapshot = host_snapshot.read(context.tree, context.policy)
        states = snapshot.selection_states(fastpath.enablement(context))
        for group in snapshot.groups():
            addresses = {m.address for m in group.members}
            if requested == group.number or requested in addresses:
                return self.fields(_fields(group, states))
        subject = "IOMMU group" if isinstance(requested, int) else "group has"
        raise errors.Refused(
            f"no {subject} {requested}; see 'gpu-passthrough group list'"
        )


# No group's number is longer: the kernel's is an int.
_NUMBER = re.compile(r"[0-9]{1,10}")


def _number_or_address(text: str) -> int | Address:
    if _NUMBER.fullmatch(text):
        return int(text)
    try:
        return address.parse_typed(text)
    except errors.Invalid as error:
        raise errors.not_valid(
            "group",
            text,
            "the number of an IOMMU group, or the address of a function such"
            " as 0000:06:00.0",
        ) from error


def _fields(
    group: Group, states: Mapping[Address, SelectionState]
) -> dict[str, object]:
    row = fastpath.group_row(group, states)
    fields = dict(zip(fastpath.GROUP, row, strict=True))
    fields["Members"] = tuple(_member(m) for m in group.members)
    fields["Remedies"] = tuple(r.remedy for r in group.verdict.reasons)
    fields["Notes"] = group.verdict.notes
    return fields


def _member(member: Member) -> str:
    kind = shown(fastpath.class_of(member.function))
    driver = member.function.driver or "no driver"
    return f"{member.address} {member.role} [{kind}] {driver}"
