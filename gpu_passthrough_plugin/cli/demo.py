"""``demo``: every stage on a recorded host, in one process."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.allocation import score_text
from gpu_passthrough_plugin.cli.command import Command
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import boot, host_snapshot, inventory, release
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.formats import nova_alias
from gpu_passthrough_plugin.host.devices import RecordedDevices
from gpu_passthrough_plugin.host.ended_guests import EndedGuests
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.host.locks import HostLock
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import request, selector
from gpu_passthrough_plugin.model.function import Binding, Identity
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.reading import known

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor

_HOST = "hyhive"
_ALIAS = '{"name": "gpu", "vendor_id": "10de", "product_id": "1430"}'
# libvirt's test driver keeps domains in memory, and starts no guest.
_LIBVIRT = "test:///default"
_DOMAIN = """\
<domain type='test'>
  <name>{name}</name>
  <memory unit='GiB'>4</memory>
  <vcpu>4</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices/>
</domain>
"""

_FOR_REAL = """
For real, on a host with IOMMU groups of its own (as root):
   gpu-passthrough host check
   gpu-passthrough group list
   gpu-passthrough db sync
   gpu-passthrough inventory sync
   gpu-passthrough instance boot DOMAIN.xml --request gpu:1
   gpu-passthrough instance release UUID"""


class Demo(Command):
    """Run every stage on a recorded host with three Quadro M2000.

    This machine is neither read nor changed: the host is a recording, drivers
    are bound in memory, libvirt is its test driver, and the ledger is in a
    temporary folder.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.discovery import recorded_tree
        from gpu_passthrough_plugin.host.hypervisor import Hypervisor

        def write(line: str) -> None:
            self.app.stdout.write(f"{line}\n")

        with tempfile.TemporaryDirectory(prefix="gpu-passthrough-") as folder:
            tree = recorded_tree.load(recorded_tree.SEED)
            with Hypervisor(_LIBVIRT) as hypervisor:
                story = Story(write)
                story.tell(
                    tree, _context(tree, hypervisor, folder, story.detail)
                )


def _context(
    tree: Tree,
    hypervisor: Hypervisor,
    folder: str,
    say: Callable[[str], None],
) -> HostContext:
    from gpu_passthrough_plugin.allocation.driver import LedgerSettings
    from gpu_passthrough_plugin.allocation.load import load

    functions = discovery.functions(tree)
    locks = os.path.join(folder, "locks")
    return HostContext(
        host=_HOST,
        tree=tree,
        policy=Policy((selector.parse("class=03*"),)),
        devices=RecordedDevices(
            {f.address: Binding(known(f.driver), None) for f in functions},
            {
                f.address: Identity(
                    known(f.vendor_id) or 0, known(f.product_id) or 0
                )
                for f in functions
            },
        ),
        connect=lambda: contextlib.nullcontext(hypervisor),
        ledger=load(
            "sql", LedgerSettings(f"sqlite:///{folder}/ledger.sqlite")
        ),
        journal=InstanceJournal(os.path.join(folder, "instances")),
        ended=EndedGuests(os.path.join(folder, "ended")),
        lock=HostLock(
            f"file://{locks}",
            _HOST,
            folder=locks,
            timeout_s=10,
            on_wait=say,
        ),
        stop_timeout_s=10,
        reset_timeout_s=1,
        restores_drivers=True,
        say=say,
    )


class Story:
    """Prints numbered stages, and what each of them did."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._began = time.monotonic()
        self._stage = 0

    def stage(self, title: str) -> None:
        self._stage += 1
        spent_s = time.monotonic() - self._began
        self._write(f"\n{self._stage}. {title}  [{spent_s:.1f} s]")

    def detail(self, line: str) -> None:
        self._write(f"   {line}")

    def tell(self, tree: Tree, context: HostContext) -> None:
        """Run and print every stage."""
        self._write(
            "Three Quadro M2000, from a bare host to a guest and back."
            "\nThe host is a recording; this machine is not changed."
        )
        self._discover(tree, context)
        self.stage("Publish: the host's units go into the ledger (SQLite)")
        self.detail(f"ledger at schema {context.ledger.sync()}")
        for unit in inventory.publish(context).added:
            self.detail(f"{unit.key} {unit.resource_class}")
        aliases = nova_alias.parse_aliases([_ALIAS])
        self.stage("Choose: where does 'gpu:1' fit, best first")
        for candidate in context.ledger.candidates(
            request.parse("gpu:1", aliases)
        ):
            units = ", ".join(str(u.unit.key) for u in candidate.units)
            self.detail(f"{units} (score {score_text(candidate.score)})")
        self.stage("Boot: claim, bind, attach, start, check")
        uuid = self._boot(context, "guest-1", request.parse("gpu:1", aliases))
        self.stage("Refuse: a second guest asks for three cards")
        try:
            self._boot(context, "guest-2", request.parse("gpu:3", aliases))
        except errors.NoValidHost as error:
            self.detail(str(error))
        self.stage("Release: stop, reset, check, restore drivers")
        release.release(context, uuid)
        self.stage("The ledger is as it was")
        for record in context.records():
            self.detail(f"{record.unit.key} {record.state}")
        self._write(_FOR_REAL)

    def _discover(self, tree: Tree, context: HostContext) -> None:
        self.stage("Discover: what PCI functions does the host have")
        groups = host_snapshot.read(tree, context.policy).groups()
        number = sum(len(g.members) for g in groups)
        self.detail(f"{number} functions in {len(groups)} IOMMU groups")
        self.stage("Isolate: which groups are assignable")
        for group in groups:
            if group.primaries:
                self._verdict(group)

    def _verdict(self, group: Group) -> None:
        members = ", ".join(f"{m.address} ({m.role})" for m in group.members)
        self.detail(f"group {group.number}: {members}")
        if group.verdict.is_assignable:
            self.detail("   assignable")
        for reason in group.verdict.reasons:
            self.detail(f"   kept by the host: {reason.text}")

    def _boot(
        self, context: HostContext, name: str, requested: request.Request
    ) -> str:
        from gpu_passthrough_plugin.formats import domain_xml

        text = _DOMAIN.format(name=name).encode()
        booted = boot.boot(context, domain_xml.parse(text, name), requested)
        with context.connect() as hypervisor:
            xml = hypervisor.live_xml(booted.consumer) or ""
        for line in xml.splitlines():
            if "<hostdev" in line or "<address domain" in line:
                self.detail(f"   {line.strip()}")
        return booted.consumer
