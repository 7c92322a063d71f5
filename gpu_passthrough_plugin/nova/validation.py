"""The extra specs that this project adds to flavors, and their validator.

``gpu_passthrough:locality`` is how close to each other all the functions
have to be that ``pci_passthrough:alias`` names.  IommuGroupFilter enforces
it, in either mode; nothing else does.

Nova's API loads ``register`` by the entry point
``nova.api.extra_spec_validators`` and then refuses a flavor with a wrong
value, and any other name below ``gpu_passthrough:``.  Nova checks since
microversion 2.86.

Nova itself acts on ``hw:maxphysaddr_mode`` and ``hw:maxphysaddr_bits``, which
flavors for cards with large BARs need, and 34.0.0 has validators for neither:
without those of ours its API refuses them as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.address_space import MOST_ADDRESS_BITS
from gpu_passthrough_plugin.nova import address_space
from gpu_passthrough_plugin.nova.exact_cover import Locality

LOCALITY = "gpu_passthrough:locality"
DESCRIPTION = (
    "How close to each other all the PCI devices of the instance have to be:"
    " below one PCIe switch, or on one NUMA node. The scheduler's"
    " IommuGroupFilter has to be enabled."
)


def locality(extra_specs: Mapping[str, str] | None) -> Locality | None:
    """Return the locality that a flavor requires; None if it requires none.

    :raises Invalid: when the value is not a locality.
    """
    text = (extra_specs or {}).get(LOCALITY)
    if text is None:
        return None
    try:
        return Locality(text)
    except ValueError as error:
        values = " or ".join(Locality)
        raise errors.Invalid(
            f"{LOCALITY} {text!r} is not valid; expected {values}"
        ) from error


def register() -> list[Any]:
    """Return Nova's ``ExtraSpecValidator`` of each extra spec.

    Source: nova, api/validation/extra_specs/base.py.
    """
    # Nova ships no types, and is installed only where it loads this.
    from nova.api.validation.extra_specs import (  # type: ignore[import-not-found,unused-ignore]
        base,
    )

    return [
        base.ExtraSpecValidator(
            name=LOCALITY,
            description=DESCRIPTION,
            value={"type": str, "enum": [str(value) for value in Locality]},
        ),
        base.ExtraSpecValidator(
            name=address_space.MODE,
            description="How a guest's CPU gets its physical address bits.",
            value={"type": str, "enum": ["emulate", "passthrough"]},
        ),
        base.ExtraSpecValidator(
            name=address_space.BITS,
            description="Physical address bits of a guest's CPU.",
            value={"type": int, "min": 32, "max": MOST_ADDRESS_BITS},
        ),
    ]
