"""What a flavor's extra specs of ours say, and how Nova's API checks them.

``gpu_passthrough:locality`` is how close to each other all the functions
have to be that ``pci_passthrough:alias`` names.  IommuGroupFilter keeps
it, in either mode; nothing else does.

Nova's API refuses a flavor with an extra spec of ours that is wrong.
``register`` is loaded by ``nova.api.extra_spec_validators``, an entry
point; with it a name below ``gpu_passthrough:`` that nothing reads is
refused, too.  Nova checks since microversion 2.86.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.nova.exact_cover import Locality

LOCALITY = "gpu_passthrough:locality"
DESCRIPTION = (
    "How close to each other all the PCI devices of the instance have to be:"
    " below one PCIe switch, or on one NUMA node. The scheduler's"
    " IommuGroupFilter has to be enabled."
)


def locality(extra_specs: Mapping[str, str] | None) -> Locality | None:
    """What a flavor asks for; None where it leaves that open.

    :raises Invalid: when it asks for what there is not.
    """
    text = (extra_specs or {}).get(LOCALITY)
    if text is None:
        return None
    try:
        return Locality(text)
    except ValueError as error:
        wanted = " or ".join(Locality)
        raise errors.Invalid(
            f"{LOCALITY} is {text!r}; wanted {wanted}"
        ) from error


def register() -> list[Any]:
    """Nova's ``ExtraSpecValidator`` of each extra spec of ours.

    Source: nova, api/validation/extra_specs/base.py.
    """
    # Nova ships no types, and is only here where it loads this.
    from nova.api.validation.extra_specs import (  # type: ignore[import-not-found,unused-ignore]
        base,
    )

    return [
        base.ExtraSpecValidator(
            name=LOCALITY,
            description=DESCRIPTION,
            value={"type": str, "enum": [str(value) for value in Locality]},
        )
    ]
