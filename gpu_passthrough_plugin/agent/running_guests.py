"""What is out of step between the guests that run and the ledger: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from gpu_passthrough_plugin.agent.finding import Act, Case, Finding
from gpu_passthrough_plugin.agent.observation import (
    Observation,
    RunningGuest,
)
from gpu_passthrough_plugin.formats.host_devices import HostFunctions
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import UnitListing
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord


def findings(observed: Observation) -> Iterator[Finding]:
    """Yield guests that run with units which the ledger has otherwise."""
    guests = observed.guests
    if isinstance(guests, Unknown):
        yield Finding(
            Case.LIBVIRT,
            observed.host,
            f"libvirt does not answer ({guests}): which guests run is unknown,"
            " and nothing is released",
            remedy="start libvirtd (or virtqemud), or set [libvirt]"
            " connection_uri",
        )
        return
    by_function = {
        function.address: record
        for record in observed.listing.records
        for function in record.unit.functions
    }
    instances = {i.uuid: i for i in observed.instances}
    for guest in guests:
        if guest.host_functions is None:
            yield Finding(
                Case.GUEST_UNREADABLE,
                guest.uuid,
                f"the XML of the running guest {guest.name!r} cannot be read:"
                " which functions it has is unknown",
                remedy=f"see 'virsh dumpxml {guest.uuid}'",
            )
            continue
        instance = instances.get(guest.uuid)
        addresses = guest.host_functions.addresses
        # A record that is outdated would keep others from being written.
        taken = guest.host_functions
        yield from _unused(guest, taken, observed.listing, instance)
        request = instance.request if instance else ""
        yield from _guest(
            guest, addresses, by_function, request or HOOK_REQUEST
        )


def _unused(
    guest: RunningGuest,
    taken: HostFunctions,
    listing: UnitListing,
    instance: Instance | None,
) -> Iterator[Finding]:
    """Yield active units of which their guest has no function.

    Where the host's journal has other functions for the guest, the ledger is
    outdated, as after it was restored from an older copy.  Otherwise somebody
    unplugged them, and may plug them in again.
    """
    if taken.unreadable:
        return
    others = instance.functions if instance else frozenset()
    outdated: list[UnitKey] = []
    unplugged: list[UnitKey] = []
    for record in listing.records:
        own = {function.address for function in record.unit.functions}
        if (
            record.state is State.ACTIVE
            and record.consumer == guest.uuid
            and not record.is_missing
            and own.isdisjoint(taken.addresses)
        ):
            is_outdated = bool(others) and own.isdisjoint(others)
            (outdated if is_outdated else unplugged).append(record.unit.key)
    if outdated:
        yield Finding(
            Case.UNIT_UNUSED,
            guest.uuid,
            f"guest {guest.name!r} runs without {_listed(outdated)}, which the"
            " ledger has active for it; this host's journal has others",
            Act.QUARANTINE,
            consumer=guest.uuid,
            units=tuple(outdated),
        )
    for key in unplugged:
        yield Finding(
            Case.UNIT_UNUSED,
            str(key),
            f"it is active for guest {guest.name!r} ({guest.uuid}), which runs"
            " without any function of it",
            remedy="plug its functions into the guest again, or shut the guest"
            " down: the unit is released then",
        )


def _guest(
    guest: RunningGuest,
    addresses: Collection[Address],
    by_function: Mapping[Address, UnitRecord],
    request: str,
) -> Iterator[Finding]:
    records = {
        by_function[address].unit.key: by_function[address]
        for address in addresses
        if address in by_function
    }
    free = tuple(k for k, r in records.items() if r.state is State.FREE)
    if free:
        yield Finding(
            Case.GUEST_NOT_RECORDED,
            guest.uuid,
            f"guest {guest.name!r} runs with {_listed(free)}, which the ledger"
            " offers to others",
            Act.RECORD,
            consumer=guest.uuid,
            request=request,
            units=free,
        )
    for record in records.values():
        yield from _conflicts(guest, record)
        yield from _missing_primaries(guest, set(addresses), record)


def _conflicts(guest: RunningGuest, record: UnitRecord) -> Iterator[Finding]:
    """Yield that a unit which a guest runs with is not the guest's own."""
    key, holder = record.unit.key, record.consumer
    who = f"guest {guest.name!r} ({guest.uuid}) runs with it"
    if record.state is State.QUARANTINED:
        yield Finding(
            Case.GUEST_CONFLICT,
            str(key),
            f"{who}, and it is quarantined ({record.reason})",
            remedy="shut the guest down; then run 'gpu-passthrough unit clear"
            f" {key}'",
        )
    elif holder not in (None, guest.uuid):
        yield Finding(
            Case.GUEST_CONFLICT,
            str(key),
            f"{who}, and the ledger has it {record.state} for {holder}",
            remedy="shut down the guest that is not to have it",
        )


def _missing_primaries(
    guest: RunningGuest, given: Collection[Address], record: UnitRecord
) -> Iterator[Finding]:
    """Yield that a guest runs without a selected function of its unit."""
    primaries = {function.address for function in record.unit.primaries}
    missing = sorted(primaries.difference(given))
    if missing:
        yield Finding(
            Case.PARTIAL_GROUP,
            str(record.unit.key),
            f"guest {guest.name!r} ({guest.uuid}) runs without"
            f" {_listed(missing)} of it",
            remedy="shut the guest down, and give it the whole group",
        )


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
