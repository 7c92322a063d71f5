"""One host, and everything that acting on its groups needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.host.devices import Devices
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Binding
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord


@dataclasses.dataclass(frozen=True, slots=True)
class HostContext:
    """One host and what it is connected to.

    :param host: its name in the ledger.
    :param connect: opens libvirt.
    :param lock: taken around every act on the host's groups.
    :param stop_timeout_s: how long a guest may take to shut down.
    :param reset_timeout_s: how long a function may take to answer again.
    :param restores_drivers: whether a release gives functions back to
        the drivers that they had.
    :param say: told of each step when it is done.
    :param aggregates: the host aggregates that it says it is in.
    """

    host: str
    tree: Tree
    policy: Policy
    devices: Devices
    connect: Callable[[], AbstractContextManager[Hypervisor]]
    ledger: LedgerDriver
    journal: InstanceJournal
    lock: Callable[[], AbstractContextManager[None]]
    stop_timeout_s: float
    reset_timeout_s: float
    restores_drivers: bool
    say: Callable[[str], None]
    aggregates: frozenset[str] = frozenset()

    def units(self) -> tuple[Unit, ...]:
        """What this host can hand out, read from it now."""
        snapshot = host_snapshot.read(self.tree, self.policy, Scope.PRIMARIES)
        return snapshot.units(self.host)

    def records(
        self, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        """This host's units in the ledger."""
        return self.ledger.records(host=self.host, states=states)

    def held(self, uuid: str) -> tuple[UnitRecord, ...]:
        """The units of this host that an instance has in the ledger."""
        return tuple(r for r in self.records() if r.consumer == uuid)

    def move(self, uuid: str, old: State, new: State) -> None:
        """Take those units of an instance that are in ``old`` to ``new``."""
        for record in self.held(uuid):
            if record.state is old:
                self.ledger.move(record, new)

    def bindings(self, of: Collection[Unit]) -> Mapping[Address, Binding]:
        """Which driver every endpoint of the units has now."""
        return {
            f.address: self.devices.binding(f.address)
            for unit in of
            for f in unit.functions
        }


def require_current(context: HostContext, of: Collection[Unit]) -> None:
    """Nothing, where the host shows the units as the ledger has them.

    :raises Refused: when one changed, or can no longer be handed out.
    """
    now = {unit.key: unit.functions for unit in context.units()}
    for unit in of:
        if now.get(unit.key) != unit.functions:
            raise errors.Refused(
                f"unit {unit.key} is no longer what was published of it;"
                " see 'gpu-passthrough group list', then run"
                " 'gpu-passthrough inventory sync'"
            )


def require_here(context: HostContext, host: str, what: str) -> None:
    if host != context.host:
        raise errors.Refused(
            f"{what} is on host {host}, and this is {context.host}; run it"
            " there"
        )
