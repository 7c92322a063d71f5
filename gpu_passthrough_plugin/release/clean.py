"""Whether what a guest gave back may be handed out again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.identity import Identity
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import Unit

# What a read that nobody answers gives.  Source: PCI Local Bus
# Specification 3.0, 6.1.
_NOBODY = 0xFFFF


def faults(
    unit: Unit,
    identities: Mapping[Address, Identity | Unknown],
    failures: Sequence[str],
) -> tuple[str, ...]:
    """Why the unit is not clean; empty when it is.

    :param identities: of every endpoint, read from config space.
    :param failures: resets that the kernel refused, one line each.
    """
    found = list(failures)
    for function in unit.functions:
        identity = identities[function.address]
        wanted = Identity(function.vendor_id, function.product_id)
        if isinstance(identity, Unknown):
            found.append(
                f"whether {function.address} answers is unknown: {identity}"
            )
        elif identity.vendor_id == _NOBODY:
            found.append(
                f"{function.address} does not answer: its config space"
                " reads ff"
            )
        elif identity != wanted:
            found.append(
                f"{function.address} reads {identity.vendor_id:04x}:"
                f"{identity.product_id:04x}; it was"
                f" {wanted.vendor_id:04x}:{wanted.product_id:04x}"
            )
    return tuple(found)
