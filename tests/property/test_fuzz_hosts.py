"""Described hosts with a few lines that no host has, through every command.

A line is changed as ``tests.property.fuzzing`` does; what reads, judges,
plans, writes and prints may refuse such a host, and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import fastpath, topology
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.conf.enablement import Enablement as Settings
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.pci_names import Names
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import (
    enablement,
    host_snapshot,
    nova,
    report,
    verification,
)
from gpu_passthrough_plugin.flow.enablement import BootContext, EnableOptions
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.flow.verification import BootEvidence
from gpu_passthrough_plugin.formats import umockdev
from gpu_passthrough_plugin.formats.umockdev import Device, Kind, Line
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.reading import MISSING
from gpu_passthrough_plugin.model.redaction import Redaction
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.property.fuzzing import Mutator, fed
from tests.property.readers import PIECES
from tests.trees import hosts, recordings
from tests.trees.host import Host
from tests.trees.seed import failed
from tests.trees.systems import SYSTEMS

COUNT = 3
POLICY = Policy((selector.parse("class=03"), selector.parse("class=12")))
LOG = tuple(
    (Path(__file__).parent / "corpus/kernel_log.txt").read_text().split("\n")
)
DESCRIBED: dict[str, Callable[[], Host]] = {
    **SYSTEMS,
    "seed-failed": failed,
    **{
        made.__name__: made
        for made in (
            hosts.amd, hosts.dead_card, hosts.firmware_off,
            hosts.four_functions, hosts.server, hosts.shared_group,
            hosts.virtual_functions, hosts.wide_domain,
        )
    },
}  # fmt: skip
RECORDED = ("seed", *(path.stem for path in recordings.FOLDER.glob("*.um*")))


def answers(tree: Tree) -> Iterator[Callable[[], object]]:
    """Yield what each command does with a host."""
    evidence = BootEvidence(LOG, None, lambda _, __: MISSING)
    yield functools.partial(groups, tree)
    yield functools.partial(listed, tree)
    yield lambda: host_snapshot.read(tree, POLICY).units("h")
    yield lambda: [
        *verification.check_host(tree, POLICY, (), lambda: evidence)
    ]
    yield lambda: verification.verify_host(tree, POLICY, evidence)
    for binding in ("address", "ids"):
        yield functools.partial(planned, tree, binding)
    for mode in Mode:
        yield functools.partial(configured, tree, mode)
    yield lambda: report.write(tree, evidence, Redaction())


def groups(tree: Tree) -> object:
    snapshot = host_snapshot.read(tree, POLICY, Scope.ALL)
    return snapshot.groups(), snapshot.predicted_groups()


def listed(tree: Tree) -> object:
    """What ``device list``, ``group list`` and ``topology`` print."""
    # The tree and names of this machine are not read.
    context = Context("/none", None, ())
    vars(context).update(tree=tree, names=Names(()))
    snapshot = host_snapshot.read(tree, POLICY)
    listing = snapshot.groups()
    states = snapshot.selection_states(None)
    functions = [m.function for group in listing for m in group.members]
    above = {f: discovery.bridges(tree, f) for f in functions}
    return (
        [*fastpath.devices(context)],
        [fastpath.group_row(group, states) for group in listing],
        [
            *topology.draw(
                functions,
                {f.address: above[f][-1] if above[f] else None for f in above},
                listing,
                {f.address: "" for f in functions},
                states,
            )
        ],
    )


def planned(tree: Tree, binding: str) -> object:
    settings = Settings(None, None, None, binding, True, True, ("nouveau",))
    context = BootContext(
        tree, POLICY, settings, None, None, contextlib.nullcontext, print
    )
    return enablement.plan_enable(context, EnableOptions())


def configured(tree: Tree, mode: Mode) -> object:
    host = nova.this_host(tree, POLICY, "h")
    return nova.generate([host], NovaOptions(mode=mode))


def judged(data: bytes) -> None:
    """Raise if some command ends in another way than it may."""
    tree = recorded_tree.parse(data, "x")
    for answer in answers(tree):
        with contextlib.suppress(errors.Error):
            answer()


class Mutated:
    """Draws hosts of which a few lines are changed."""

    def __init__(self, name: str, devices: tuple[Device, ...]) -> None:
        values = [line.value for d in devices for line in d.lines]
        pieces = [piece.encode() for piece in PIECES]
        self._mutator = Mutator(name, values, pieces)
        self._devices = devices

    def __iter__(self) -> Iterator[bytes]:
        yield umockdev.printed(self._devices)
        while True:
            yield umockdev.printed(self._changed())

    def _changed(self) -> list[Device]:
        devices = list(self._devices)
        chance = self._mutator.chance
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            # The first is the host itself, with all its files.
            at = chance.choice((0, chance.randrange(len(devices))))
            lines = list(devices[at].lines)
            number = chance.randrange(len(lines) or 1)
            lines[number : number + 1] = [
                self._line(line) for line in lines[number : number + 1]
            ][: chance.choice((0, 1, 1, 1, 1))]
            devices[at] = dataclasses.replace(devices[at], lines=tuple(lines))
        return devices

    def _line(self, line: Line) -> Line:
        """Return a line that a recording can hold, with another value."""
        value = self._mutator.mutated(line.value)
        if line.kind in (Kind.LINK, Kind.PROPERTY):
            value = value.replace(b"\n", b"").replace(b"\0", b"")
        return dataclasses.replace(line, value=value)


@pytest.mark.parametrize("name", sorted(DESCRIBED))
def test_a_described_host(name: str) -> None:
    fed(judged, iter(Mutated(name, DESCRIBED[name]().devices())), COUNT)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_recorded_host(name: str) -> None:
    data = recordings.path(name).read_bytes()
    devices = umockdev.read(data, name).devices
    fed(judged, iter(Mutated(name, devices)), COUNT)


def test_a_host_as_it_is_is_answered() -> None:
    """Nothing is refused: each command has something to say."""
    for answer in answers(SYSTEMS["proxmox-grub"]().tree()):
        assert answer()
