"""What a flavor's extra specs of ours say.

``gpu_passthrough:locality`` is how close to each other all the functions
have to be that ``pci_passthrough:alias`` names.  IommuGroupFilter keeps
it, in either mode; nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.nova.cover import Locality

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
