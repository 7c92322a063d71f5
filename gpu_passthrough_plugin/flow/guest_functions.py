"""What a running guest has of the functions that an instance is to have."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import (
    HostFunctions,
    host_functions,
)
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.unit import UnitRecord

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor


def guest_faults(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> tuple[str, ...]:
    """Return how the running guest differs from its claim, a line each."""
    live = hypervisor.live_xml(instance.uuid)
    if live is None:
        return ("the guest is not running",)
    root = domain_xml.tree(live.encode(), instance.uuid).getroot()
    units = tuple(record.unit for record in context.held(instance.uuid))
    try:
        bindings = context.bindings(units)
    except errors.ReadFailed as error:
        return (str(error),)
    return assignment.faults(
        units,
        host_functions(root),
        instance.own,
        bindings,
        host_snapshot.vfio_drivers(context.tree, bindings),
    )


def is_without(
    hypervisor: Hypervisor, uuid: str, records: Iterable[UnitRecord]
) -> bool:
    """Return whether a guest runs and has no function of these units.

    A row of the ledger names its consumer, and any host that shares the
    ledger can write it: only the live XML shows what a guest has.  What
    cannot be read in it counts as no function.
    """
    live = hypervisor.live_xml(uuid)
    if live is None:
        return False
    taken = _taken(live, uuid)
    return taken is None or functions(records).isdisjoint(taken.addresses)


def functions(records: Iterable[UnitRecord]) -> set[Address]:
    return {f.address for record in records for f in record.unit.functions}


def _taken(live: str, uuid: str) -> HostFunctions | None:
    """Return what a running guest has; None if its XML cannot be read."""
    try:
        root = domain_xml.tree(live.encode(), uuid).getroot()
    except errors.Invalid:
        return None
    return host_functions(root)


def is_anothers(context: HostContext, instance: Instance, live: str) -> bool:
    """Return whether a running guest has none of an instance's functions.

    libvirt may have started a domain of this UUID without them, as when it
    is defined and starts with the host.  Where neither the journal nor the
    ledger has them (the instance died before its claim, or another command
    undid it), all count that the operator's own document did not name.

    :param live: the guest's XML; what may name a function and cannot be read
        counts as one of them.
    """
    taken = _taken(live, instance.uuid)
    if taken is None or taken.unreadable:
        return False
    own = {rebind.address for rebind in instance.rebinds}
    own |= functions(context.held(instance.uuid))
    if not own:
        return set(taken.addresses) <= set(instance.own)
    return own.isdisjoint(taken.addresses)


def present(
    hypervisor: Hypervisor, uuid: str, functions: Collection[Address]
) -> frozenset[Address]:
    """Return those of some functions that a guest runs with; none if off."""
    live = hypervisor.live_xml(uuid)
    if live is None:
        return frozenset()
    taken = host_functions(domain_xml.tree(live.encode(), uuid).getroot())
    return frozenset(taken.addresses).intersection(functions)


def require_without(
    hypervisor: Hypervisor, uuid: str, functions: Collection[Address]
) -> None:
    """Raise if a guest runs with one of these functions, or may do so.

    :raises Refused: its units stay as they are.
    """
    live = hypervisor.live_xml(uuid)
    if live is None:
        return
    taken = host_functions(domain_xml.tree(live.encode(), uuid).getroot())
    present = sorted(set(taken.addresses).intersection(functions))
    if present or taken.unreadable:
        raise errors.Refused(
            f"guest {uuid} runs with"
            f" {', '.join(map(str, present)) or taken.doubts}; shut it down,"
            " then run this again"
        )
