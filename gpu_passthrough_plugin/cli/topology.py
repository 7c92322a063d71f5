"""``topology``: a host as a tree of NUMA nodes, bridges and functions."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from gpu_passthrough_plugin.cli import fastpath
from gpu_passthrough_plugin.cli.command import Command
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.model import fabric as fabrics
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.reading import printable, shown
from gpu_passthrough_plugin.model.selector import SelectionState

Names = Mapping[Address, str]


class Topology(Command):
    """Print the host as a tree: NUMA nodes, bridges, functions, groups."""

    reads_only = True

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        context = self.context
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
