"""The services and settings of a host, for commands that act on its groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import driver_uses, host_snapshot
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.host.ended_guests import EndedGuests
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import agent_state
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.function import Binding, Rebind
from gpu_passthrough_plugin.model.reading import MISSING
from gpu_passthrough_plugin.model.sanitising import SanitiseDriver
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord

if TYPE_CHECKING:
    from gpu_passthrough_plugin.flow.unit_health import HealthChecks
    from gpu_passthrough_plugin.host.devices import Devices
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor


@dataclasses.dataclass(frozen=True, slots=True)
class HostContext:
    """One host, its services, and the settings for releasing its units.

    A unit is one assignable IOMMU group, as it is published in the ledger.

    :param host: this host's name in the ledger.
    :param tree: where sysfs is read.
    :param policy: which functions are selected, and which are never used.
    :param devices: binds, resets and identifies functions.
    :param connect: returns a context manager with a libvirt connection.
    :param journal: of instances that this host boots and releases.
    :param ended: guests of which the libvirt hook was told that they ended.
    :param lock: returns a context manager that holds the host's lock; every
        change of a group is inside one.
    :param stop_timeout_s: seconds that a guest may take to shut down.
    :param reset_timeout_s: seconds that a function may take to respond
        after a reset.
    :param restores_drivers: whether a release returns functions to the
        drivers that they were on before they were prepared.
    :param say: called with a line for each step that is done.
    :param aggregates: the host aggregates that this host is published in.
    :param sanitiser: wipes what a guest left on a unit; None for nothing.
    :param health: how units are judged; None where none is.
    :param count: counts an event of this host, with its details.
    """

    host: str
    tree: Tree
    policy: Policy
    devices: Devices
    connect: Callable[[], AbstractContextManager[Hypervisor]]
    ledger: LedgerDriver
    journal: InstanceJournal
    ended: EndedGuests
    lock: Callable[[], AbstractContextManager[None]]
    stop_timeout_s: float
    reset_timeout_s: float
    restores_drivers: bool
    say: Callable[[str], None]
    aggregates: frozenset[str] = frozenset()
    sanitiser: SanitiseDriver | None = None
    health: HealthChecks | None = None
    count: Callable[..., None] = lambda _event, *_details: None

    def units(self) -> tuple[Unit, ...]:
        """Return the units of this host's assignable groups, read now."""
        snapshot = host_snapshot.read(self.tree, self.policy, Scope.PRIMARIES)
        return snapshot.units(self.host)

    def records(
        self, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        """Return this host's units in the ledger.

        :param states: only units in one of these; empty for any state.
        """
        return self.ledger.records(host=self.host, states=states)

    def held(self, uuid: str) -> tuple[UnitRecord, ...]:
        """Return this host's units that are allocated to an instance."""
        return tuple(r for r in self.records() if r.consumer == uuid)

    def move(self, uuid: str, old: State, new: State) -> None:
        """Move an instance's units that are in state ``old`` to ``new``.

        One after another; to repeat it goes on where it failed.

        :raises Conflict: when another client changed one meanwhile.
        """
        for record in self.held(uuid):
            if record.state is old:
                self.ledger.move(record, new)

    def bindings(self, units: Collection[Unit]) -> Mapping[Address, Binding]:
        """Return driver and override of every function of the units, now.

        :raises ReadFailed: when the host does not have one of them.
        """
        return {
            f.address: self.devices.binding(f.address)
            for unit in units
            for f in unit.functions
        }


def require_current(context: HostContext, units: Collection[Unit]) -> None:
    """Raise if a unit's functions differ from those in the ledger.

    :raises Refused: when a unit changed, or is no longer assignable.
    """
    current = {unit.key: unit.functions for unit in context.units()}
    for unit in units:
        if current.get(unit.key) != unit.functions:
            raise errors.Refused(
                f"unit {unit.key} differs from what was published, or is no"
                " longer assignable;"
                " see 'gpu-passthrough group list', then run"
                " 'gpu-passthrough inventory sync'"
            )


def why_busy(context: HostContext, unit: Unit) -> str:
    """Return why something uses a unit, or may use it; "" for an idle one.

    A function that the host does not have any more is used by nobody.  What
    cannot be found out is a reason as well.
    """
    try:
        for function in unit.functions:
            if context.devices.identity(function.address) != MISSING:
                context.devices.require_idle(function.address)
    except errors.Error as error:
        return str(error)
    return ""


def require_unused(context: HostContext, rebinds: Iterable[Rebind]) -> None:
    """Raise if something uses a function through the driver that it is on.

    The kernel would take the driver away only when that ends, which may be
    never.

    :param rebinds: what is about to be done; functions that stay on their
        driver are not looked at.
    :raises Refused: with processes and device files by name.
    """
    drivers = (
        (rebind.address, rebind.was.driver)
        for rebind in rebinds
        if rebind.was.driver and rebind.was.driver != rebind.becomes.driver
    )
    for line in driver_uses.require_unused(context.tree, drivers):
        context.say(f"warning: {line}")


def require_here(context: HostContext, host: str, subject: str) -> None:
    """Raise if ``host`` is not this host.

    :param subject: what is on that host, for the message.
    :raises Refused: when it is another one; it says so if nobody is there.
    """
    if host != context.host:
        record = context.ledger.host(host)
        raise elsewhere(record, host, context.host, subject)


def elsewhere(
    record: HostRecord | None, host: str, own_host: str, subject: str
) -> errors.Refused:
    """Return that something is on another host, where a command is to be run.

    It says so if nobody is there.

    :param record: of the other host.
    """
    if record is not None and agent_state.is_lost_or_fenced(record.reason):
        return errors.Refused(
            f"{subject} is on host {host}, which does not answer"
            f" ({record.reason}); run this on {host} once it is back, or, if"
            " it is powered off, run 'gpu-passthrough inventory fence"
            f" {host}'"
        )
    return errors.Refused(
        f"{subject} is on host {host}, not on this host ({own_host});"
        f" run this on {host}"
    )
