"""How a guest's XML, its units and the host's bindings have to agree."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.domain_xml import Domain
from gpu_passthrough_plugin.formats.host_devices import HostFunctions
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.unit import Unit, UnitRecord


def rebinds(
    units: Sequence[Unit],
    bindings: Mapping[Address, Binding],
    vfio_drivers: Mapping[Address, str],
) -> tuple[Rebind, ...]:
    """Return the change to a VFIO driver for every endpoint, by address.

    To vfio-pci, unless another VFIO driver has it, which knows it better.
    Endpoints that are on theirs already are included: they must be given
    back as they were.

    :param bindings: of each endpoint as the host shows it now.
    :param vfio_drivers: of the endpoints that a VFIO driver has now.
    """
    addresses = sorted(f.address for u in units for f in u.functions)
    return tuple(
        Rebind(a, bindings[a], _becomes(bindings[a], vfio_drivers.get(a)))
        for a in addresses
    )


def managed(
    units: Sequence[Unit],
    bindings: Mapping[Address, Binding],
    vfio_drivers: Mapping[Address, str],
) -> frozenset[Address]:
    """Return the endpoints that libvirt may bind to vfio-pci at a start.

    Without those that another VFIO driver has, which libvirt would take them
    off.

    :param bindings: of each endpoint as the host shows it now.
    :param vfio_drivers: of the endpoints that a VFIO driver has now.
    """
    return frozenset(
        rebind.address
        for rebind in rebinds(units, bindings, vfio_drivers)
        if rebind.becomes == VFIO
    )


def is_on_vfio(binding: Binding, vfio_driver: str | None) -> bool:
    """Return whether vfio-pci, or another VFIO driver, has a function.

    :param vfio_driver: the function's driver, where the host shows that it
        is a VFIO driver.
    """
    if binding.driver is None:
        return False
    return binding.driver in (VFIO.driver, vfio_driver)


def _becomes(binding: Binding, vfio_driver: str | None) -> Binding:
    # Also where vfio-pci has it: its override is to be set as well.
    if binding.driver == VFIO.driver:
        return VFIO
    return binding if is_on_vfio(binding, vfio_driver) else VFIO


def refuse_taken(domain: Domain, records: Collection[UnitRecord]) -> None:
    """Raise if the domain's own XML passes through a function of a unit.

    :param records: every unit of this host.
    :raises Invalid: also when the XML may do so and cannot be read.
    """
    if domain.host_functions.unreadable:
        raise errors.Invalid(
            f"domain {domain.name!r} may take a PCI function that cannot be"
            f" identified: {domain.host_functions.doubts}; remove it, or"
            " write it as a <hostdev> with an address"
        )
    for record in records:
        owned = {f.address for f in record.unit.functions}
        for address in domain.host_functions.addresses:
            if address in owned:
                holder = (
                    f"instance {record.consumer} holds"
                    if record.consumer
                    else "the ledger hands out"
                )
                raise errors.Invalid(
                    f"domain {domain.name!r} itself passes through {address}"
                    f" of unit {record.unit.key}, which {holder}; remove it"
                    " from the XML and use --request"
                )


def faults(
    units: Sequence[Unit],
    live: HostFunctions,
    own: Collection[Address],
    bindings: Mapping[Address, Binding],
    vfio_drivers: Mapping[Address, str],
) -> tuple[str, ...]:
    """Return how a running guest differs from its claim, a line each.

    :param live: what the live domain's XML takes of the host.
    :param own: functions that the operator's own document named.
    :param bindings: of every endpoint of the units, read after the start.
    :param vfio_drivers: of those that a VFIO driver has, read likewise.
    """
    claimed = {f.address for u in units for f in u.functions}
    present = set(live.addresses) - set(own)
    doubts = (
        (f"the running guest may have another PCI function: {live.doubts}",)
        if live.unreadable
        else ()
    )
    return (
        *(
            f"{address} was claimed and is not in the running guest"
            for address in sorted(claimed - present)
        ),
        *(
            f"{address} is in the running guest and was not claimed"
            for address in sorted(present - claimed)
        ),
        *doubts,
        *(
            f"{address} is on {bindings[address].driver or 'no driver'},"
            " not on vfio-pci"
            for address in sorted(claimed)
            if not is_on_vfio(bindings[address], vfio_drivers.get(address))
        ),
    )
