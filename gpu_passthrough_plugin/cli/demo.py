"""``demo``: every stage on a recorded host, in one process."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.allocation import score_text
from gpu_passthrough_plugin.cli.command import Command
from gpu_passthrough_plugin.flow import boot, host_snapshot, inventory, release
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.request import Request

_DOMAIN = """\
<domain type='kvm'>
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

    This machine is neither read nor changed: it is a sandbox, as --sandbox
    makes one, in a temporary folder.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from gpu_passthrough_plugin.cli.sandbox import SandboxContext

        def write(line: str) -> None:
            self.app.stdout.write(f"{line}\n")

        with tempfile.TemporaryDirectory(prefix="gpu-passthrough-") as folder:
            context = SandboxContext(folder, None, (), (), tell=lambda _: None)
            host = context.host_context
            story = Story(write)
            host = dataclasses.replace(host, say=story.detail)
            story.tell(host, context.request)


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

    def tell(
        self, context: HostContext, parse: Callable[[str], Request]
    ) -> None:
        """Run and print every stage.

        :param parse: returns the request that a text stands for.
        """
        self._write(
            "Three Quadro M2000, from a bare host to a guest and back."
            "\nThe host is a recording; this machine is not changed."
        )
        self._discover(context)
        self.stage("Publish: the host's units go into the ledger (SQLite)")
        self.detail(f"ledger at schema {context.ledger.sync()}")
        for unit in inventory.publish(context).added:
            self.detail(f"{unit.key} {unit.resource_class}")
        self.stage("Choose: where does 'gpu:1' fit, best first")
        for candidate in context.ledger.candidates(parse("gpu:1")):
            units = ", ".join(str(u.unit.key) for u in candidate.units)
            self.detail(f"{units} (score {score_text(candidate.score)})")
        self.stage("Boot: claim, bind, attach, start, check")
        uuid = self._boot(context, "guest-1", parse("gpu:1"))
        self.stage("Refuse: a second guest asks for three cards")
        try:
            self._boot(context, "guest-2", parse("gpu:3"))
        except errors.NoValidHost as error:
            self.detail(str(error))
        self.stage("Release: stop, reset, check, restore drivers")
        release.release(context, uuid)
        self.stage("The ledger is as it was")
        for record in context.records():
            self.detail(f"{record.unit.key} {record.state}")
        self._write(_FOR_REAL)

    def _discover(self, context: HostContext) -> None:
        self.stage("Discover: what PCI functions does the host have")
        groups = host_snapshot.read(context.tree, context.policy).groups()
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
        self, context: HostContext, name: str, requested: Request
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
