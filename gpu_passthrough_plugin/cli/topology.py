"""``topology``: a host as a tree of NUMA nodes, bridges and functions."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import fastpath, output
from gpu_passthrough_plugin.cli.command import Command
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.model import fabric as fabrics
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import UnitListing
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.reading import printable, shown
from gpu_passthrough_plugin.model.selector import SelectionState

Names = Mapping[Address, str]

_FORMATS = (".svg", ".html", ".json")


class Topology(Command):
    """Print the host as a tree, or draw it.

    Both show NUMA nodes, bridges, functions and IOMMU groups with their
    states. A picture is one file that needs nothing else; it shows what the
    ledger has as well, unless it is of a recording.
    """

    reads_only = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "-o",
            "--output",
            metavar="FILE",
            help="write a picture instead: FILE ends in .svg, .html (with a"
            " search and a table) or .json",
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="replace FILE if it exists",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
        if parsed_args.output is not None:
            self._write(parsed_args.output, parsed_args.force)
            return
        snapshot = host_snapshot.read(context.tree, context.policy)
        groups = snapshot.groups()
        states = snapshot.selection_states(fastpath.enablement(context))
        functions = sorted(
            (m.function for g in groups for m in g.members),
            key=lambda f: f.address,
        )
        above = {f: discovery.bridges(context.tree, f) for f in functions}
        parents = {
            f.address: above[f][-1] if above[f] else None for f in functions
        }
        names = {f.address: context.names.function(f) for f in functions}
        for line in draw(functions, parents, groups, names, states):
            self.app.stdout.write(f"{printable(line)}\n")
        fabric = fabrics.fabric(functions)
        if fabric is not None:
            self.app.stdout.write(f"NVLink fabric: {printable(str(fabric))}\n")

    def _write(self, path: str, is_forced: bool) -> None:
        """Write a picture of the host to a file, by its suffix."""
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in _FORMATS:
            raise errors.not_valid(
                "--output", path, f"a name that ends in {', '.join(_FORMATS)}"
            )
        output.require_writable(path, is_forced=is_forced)
        from gpu_passthrough_plugin.flow import host_drawing

        context = self.context
        snapshot = host_snapshot.read(context.tree, context.policy)
        functions = [member.function for member in snapshot.members()]
        listing, fault = self._listing()
        picture = host_drawing.draw(
            context.tree,
            snapshot,
            fastpath.enablement(context),
            self._title(),
            {f.address: context.names.pair(f) for f in functions},
            listing,
            self._holders() if listing else {},
        )
        if fault:
            picture = picture._replace(notes=(*picture.notes, fault))
        text = host_drawing.document(picture, suffix.removeprefix("."))
        say(output.save(path, text.encode(), is_forced=is_forced))

    def _title(self) -> str:
        if self.context.can_act:
            return f"Host {self.context.settings.host}"
        return f"Host of {self.context.place}"

    def _listing(self) -> tuple[UnitListing | None, str]:
        """Return this host's units, or a line that says why they are not.

        A host that is looked at elsewhere has none.
        """
        if not self.context.can_act:
            return None, ""
        try:
            ledger = self.context.ledger
            return ledger.listing(host=self.context.settings.host), ""
        except errors.Error as error:
            return None, f"what the ledger has is unknown: {error}"

    def _holders(self) -> dict[str, str]:
        """Return the names of guests that this host's journal has."""
        try:
            instances = self.context.host_context.journal.instances()
        except errors.Error:
            return {}
        return {i.uuid: i.name for i in instances if i.name}


def draw(
    functions: list[Function],
    parents: Mapping[Address, Address | None],
    groups: tuple[Group, ...],
    names: Names,
    states: Mapping[Address, SelectionState],
) -> Iterator[str]:
    """Yield the lines of the tree, node by node.

    :param parents: the bridge right above each function; None at a root.
    :param states: how far each function is on its way to guests.
    """
    marks = {
        m.address: _mark(g, states[m.address])
        for g in groups
        for m in g.members
    }
    below: dict[Address | None, list[Function]] = {}
    for function in functions:
        parent = parents[function.address]
        below.setdefault(parent if parent in marks else None, []).append(
            function
        )
    nodes: dict[str, list[Function]] = {}
    for function in below.get(None, []):
        nodes.setdefault(_node(function), []).append(function)
    for node in sorted(nodes):
        yield node
        yield from _branches(nodes[node], below, marks, names, "")


def _branches(
    functions: list[Function],
    below: Mapping[Address | None, list[Function]],
    marks: Names,
    names: Names,
    indent: str,
) -> Iterator[str]:
    for number, function in enumerate(functions):
        is_last = number == len(functions) - 1
        address = function.address
        yield (
            f"{indent}{'└─' if is_last else '├─'} {address} {names[address]}"
            f" {marks[address]}"
        )
        yield from _branches(
            below.get(address, []),
            below,
            marks,
            names,
            indent + ("   " if is_last else "│  "),
        )


def _mark(group: Group, state: SelectionState) -> str:
    words = ["no IOMMU group"]
    if group.number is not None:
        words = [f"group {group.number}"]
    if group.number is not None and group.verdict.is_assignable:
        words.append("assignable")
    if state is not SelectionState.NOT_SELECTED:
        words.append(state)
    return f"({', '.join(words)})"


def _node(function: Function) -> str:
    node = function.numa_node
    return "no NUMA node" if node is None else f"NUMA node {shown(node)}"
