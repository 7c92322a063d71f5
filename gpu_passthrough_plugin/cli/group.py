"""``group``: IOMMU groups, and whether each can be handed out."""

from __future__ import annotations

import argparse
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.command import Lister, Shower, rows
from gpu_passthrough_plugin.flow import groups
from gpu_passthrough_plugin.model.group import Group, Member
from gpu_passthrough_plugin.model.reading import Unknown

COLUMNS = (
    "Group",
    "Primary",
    "Functions",
    "NUMA Node",
    "Assignable",
    "Reasons",
)


class GroupList(Lister):
    """List IOMMU groups with the verdict on each."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--assignable",
            action="store_true",
            help="only those that can be handed out",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        found = groups.groups(
            self.context.tree,
            self.context.policy,
            with_primary_only=parsed_args.assignable,
        )
        return COLUMNS, rows(
            *(
                _row(group)
                for group in found
                if group.verdict.is_assignable or not parsed_args.assignable
            )
        )


def _row(group: Group) -> tuple[object, ...]:
    first = (group.primaries or group.members)[0].function
    return (
        group.number,
        tuple(str(m.address) for m in group.primaries),
        tuple(str(m.address) for m in group.members),
        first.numa_node,
        group.verdict.is_assignable,
        tuple(reason.text for reason in group.verdict.reasons),
    )


class GroupShow(Shower):
    """Show one IOMMU group: its members, the verdict, and the remedies."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "group", type=int, help="the kernel's number of the group"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        for group in groups.groups(context.tree, context.policy):
            if group.number == parsed_args.group:
                return self.fields(_all(group))
        raise errors.Refused(
            f"no IOMMU group {parsed_args.group}; see 'gpu-passthrough"
            " group list'"
        )


def _all(group: Group) -> dict[str, object]:
    fields = dict(zip(COLUMNS, _row(group), strict=True))
    fields["Functions"] = tuple(_member(m) for m in group.members)
    fields["Remedies"] = tuple(r.remedy for r in group.verdict.reasons)
    fields["Notes"] = group.verdict.notes
    return fields


def _member(member: Member) -> str:
    code = member.function.class_code
    kind = "unknown" if isinstance(code, Unknown) else f"{code >> 8:04x}"
    driver = member.function.driver or "no driver"
    return f"{member.address} {member.role} [{kind}] {driver}"
