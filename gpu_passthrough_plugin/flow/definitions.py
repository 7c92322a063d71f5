"""What libvirt's definition of a domain is given for an instance, and loses.

libvirt binds the functions to vfio-pci at each start and returns them to
their drivers when the guest stops, so that the definition is good after a
restart of the host.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment, attachment
from gpu_passthrough_plugin.compute.attachment import GuestSlot
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.domain_xml import Domain
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.instance import Definition, Instance, Phase
from gpu_passthrough_plugin.model.unit import Unit

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor


def read(hypervisor: Hypervisor, uuid: str) -> Domain | None:
    """Return a domain as libvirt has it defined; None if it has not.

    With passwords, so that it can be defined again.

    :raises Invalid: when its XML cannot be read.
    """
    xml = hypervisor.defined_xml(uuid, is_whole=True)
    if xml is None:
        return None
    return domain_xml.parse(xml.encode(), f"definition of {uuid}")


def functions(domain: Domain | None) -> frozenset[Address]:
    """Return the host's functions that a definition takes."""
    return frozenset(domain.host_functions.addresses if domain else ())


def planned(units: Sequence[Unit], places: Sequence[GuestSlot]) -> Definition:
    """Return what a domain's definition is given for units."""
    return Definition(
        tuple(f.address for unit in units for f in unit.functions),
        tuple(place.bus for place in places if place.bus),
    )


def text(
    context: HostContext,
    domain: Domain,
    units: Sequence[Unit],
    places: tuple[GuestSlot, ...],
) -> str:
    """Return a domain's XML with every function of its units."""
    bindings = context.bindings(units)
    drivers = host_snapshot.vfio_drivers(context.tree, bindings)
    managed = assignment.managed(units, bindings, drivers)
    return attachment.attached(domain, places, managed)


def replace(hypervisor: Hypervisor, domain: Domain, xml: str) -> None:
    """Replace a domain's definition.

    :param domain: as its definition was read.
    :raises Conflict: when another program changed it meanwhile.
    :raises Refused: when libvirt does not take it.
    """
    present = hypervisor.defined_xml(domain.uuid, is_whole=True)
    if present is None or present.encode() != domain.text:
        raise errors.Conflict(
            f"the definition of domain {domain.name!r} changed while this"
            " command ran; run it again"
        )
    hypervisor.define(xml)


def remove(
    hypervisor: Hypervisor, instance: Instance, taken: Collection[Address]
) -> list[str]:
    """Remove functions from a domain's definition; return what was done.

    Every other word of it stays.

    :raises Refused: when the definition takes one of them in another way
        than as a ``<hostdev>``.
    """
    domain = read(hypervisor, instance.uuid)
    present = functions(domain) & set(taken)
    if domain is None or not present:
        return []
    ports = instance.definition.ports if instance.definition else ()
    replace(hypervisor, domain, attachment.detached(domain, present, ports))
    left = functions(read(hypervisor, instance.uuid)) & present
    if left:
        raise errors.Refused(
            f"the definition of domain {domain.name!r} still takes"
            f" {_listed(left)}; remove that with 'virsh edit"
            f" {instance.uuid}', then run this again"
        )
    return [f"{_listed(present)} removed from the definition"]


def end(hypervisor: Hypervisor, instance: Instance) -> list[str]:
    """Take an instance's units from its domain's definition; return the act.

    A domain that a command defined, and nobody changed since, is undefined.
    """
    definition = instance.definition
    if definition is None or instance.keeps_definition:
        return []
    done = []
    if definition.is_own and _is_unchanged(hypervisor, instance):
        try:
            hypervisor.undefine(instance.uuid)
        except errors.Refused as error:
            # As where it has snapshots.
            done = [str(error)]
        else:
            return ["domain undefined"]
    return [*done, *remove(hypervisor, instance, definition.functions)]


def _is_unchanged(hypervisor: Hypervisor, instance: Instance) -> bool:
    """Return whether a definition is as the command that made it left it.

    Where that is not known, as the command may have ended before libvirt took
    the definition, whether it has what only that command added.
    """
    domain, definition = read(hypervisor, instance.uuid), instance.definition
    if domain is None or definition is None:
        return False
    if definition.digest:
        return definition.digest == _digest(domain.text)
    return instance.defined_functions <= functions(domain)


def with_digest(hypervisor: Hypervisor, instance: Instance) -> Instance:
    """Return an instance that knows its own definition, as libvirt has it."""
    definition = instance.definition
    xml = hypervisor.defined_xml(instance.uuid, is_whole=True)
    if definition is None or not definition.is_own or xml is None:
        return instance
    return dataclasses.replace(
        instance,
        definition=definition._replace(digest=_digest(xml.encode())),
    )


def _digest(xml: bytes) -> str:
    return hashlib.sha256(xml).hexdigest()


def settled(instance: Instance) -> Instance:
    """Return an instance whose domain libvirt starts and stops from now."""
    return dataclasses.replace(
        instance,
        phase=Phase.ATTACHED,
        keeps_claim=False,
        was_started=True,
        is_stopped=False,
        cleaned=(),
        keeps_definition=False,
        detaching=(),
        is_live=False,
    )


def require_unsaved(hypervisor: Hypervisor, uuid: str) -> None:
    """Raise if libvirt saved a domain's memory for its next start.

    :raises Refused: its functions would be missing, or be new, there.
    """
    domain = hypervisor.domain(uuid)
    if domain is not None and domain.has_saved_state:
        raise errors.Refused(
            f"libvirt saved the memory of domain {domain.name!r} for its next"
            f" start; discard that with 'virsh managedsave-remove {uuid}',"
            " then run this again"
        )


def _listed(addresses: Collection[Address]) -> str:
    return ", ".join(map(str, sorted(addresses)))
