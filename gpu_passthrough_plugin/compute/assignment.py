"""What must happen to a host's functions before a guest may have them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.domain_xml import Domain
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.effect import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.unit import Unit, UnitRecord


def rebinds(
    units: Sequence[Unit], bindings: Mapping[Address, Binding]
) -> tuple[Rebind, ...]:
    """The change for every endpoint of the units, by address.

    One that is on vfio-pci already is in it as well: it must be given
    back as it was.

    :param bindings: of each endpoint as the host shows it now.
    """
    addresses = sorted(f.address for u in units for f in u.functions)
    return tuple(Rebind(a, bindings[a], VFIO) for a in addresses)


def refuse_taken(domain: Domain, records: Collection[UnitRecord]) -> None:
    """Nothing, where the domain names no function of any unit itself.

    :param records: every unit of this host.
    :raises Invalid: when a ``<hostdev>`` of it is of a unit.
    """
    for record in records:
        owned = {f.address for f in record.unit.functions}
        for address in domain.hostdevs:
            if address in owned:
                holder = (
                    f"instance {record.consumer} holds"
                    if record.consumer
                    else "the ledger hands out"
                )
                raise errors.Invalid(
                    f"domain {domain.name!r} already has a <hostdev> for"
                    f" {address}, of unit {record.unit.key}, which"
                    f" {holder}; take it out and ask with --request"
                )


def faults(
    units: Sequence[Unit],
    live: Collection[Address],
    bindings: Mapping[Address, Binding],
) -> tuple[str, ...]:
    """How a running guest differs from its claim; empty when it does not.

    :param live: functions in the live domain's XML, less those that the
        operator's own document named.
    :param bindings: of every endpoint of the units, read after the start.
    """
    claimed = {f.address for u in units for f in u.functions}
    return (
        *(
            f"{address} was claimed and is not in the running guest"
            for address in sorted(claimed.difference(live))
        ),
        *(
            f"{address} is in the running guest and was not claimed"
            for address in sorted(set(live) - claimed)
        ),
        *(
            f"{address} is on {bindings[address].driver or 'no driver'},"
            " not on vfio-pci"
            for address in sorted(claimed)
            if bindings[address].driver != VFIO.driver
        ),
    )
