"""``group``: IOMMU groups, and whether each is assignable."""

from __future__ import annotations

import argparse
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import fastpath
from gpu_passthrough_plugin.cli.command import Lister, Shower, rows
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.model.group import Group, Member
from gpu_passthrough_plugin.model.reading import shown


class GroupList(Lister):
    """List IOMMU groups with the verdict on each."""

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--assignable",
            action="store_true",
            help="list only assignable groups",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        groups = fastpath.groups(
            self.context, assignable_only=parsed_args.assignable
        )
        return fastpath.GROUP, rows(*groups)


class GroupShow(Shower):
    """Show one IOMMU group: its members, the verdict, and the remedies."""

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("group", type=int, help="number of the group")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        snapshot = host_snapshot.read(context.tree, context.policy)
        for group in snapshot.groups():
            if group.number == parsed_args.group:
                return self.fields(_fields(group))
        raise errors.Refused(
            f"no IOMMU group {parsed_args.group}; see 'gpu-passthrough"
            " group list'"
        )


def _fields(group: Group) -> dict[str, object]:
    fields = dict(zip(fastpath.GROUP, fastpath.group_row(group), strict=True))
    fields["Members"] = tuple(_member(m) for m in group.members)
    fields["Remedies"] = tuple(r.remedy for r in group.verdict.reasons)
    fields["Notes"] = group.verdict.notes
    return fields


def _member(member: Member) -> str:
    kind = shown(fastpath.class_of(member.function))
    driver = member.function.driver or "no driver"
    return f"{member.address} {member.role} [{kind}] {driver}"
