"""Functions that nobody selected, and that would be taken all the same."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.driver import BindingCase
from gpu_passthrough_plugin.formats import vfio_pci_ids
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown

_NOBODY = (0, 0xFFFF)
"""Vendors that no function has: not known, and of one that is dead."""


def refuse_unknown(case: BindingCase) -> None:
    """Nothing, where every target is known for what it is.

    :raises Refused: naming those that are not.
    """
    lost = [t for t in case.targets if t.vendor_id in _NOBODY]
    if lost:
        names = ", ".join(str(target.address) for target in lost)
        raise errors.Refused(
            f"the ids of {names} could not be read: nothing would tell them"
            " from another function at boot; run this on the host itself as"
            " root"
        )


def foreign_lists(
    installation: Installation,
) -> tuple[vfio_pci_ids.IdList, ...]:
    """Return the lists of ids in files that are not this product's own."""
    return tuple(
        id_list
        for id_list in vfio_pci_ids.from_modprobe(installation)
        if id_list.path != own_files.MODPROBE
    )


def refuse_captured(case: BindingCase) -> None:
    """Nothing, where no file of the host's takes what stays with it.

    :raises Refused: naming the file, the ids and the functions.
    """
    faults = []
    for line in foreign_lists(case.installation):
        for text in line.ids:
            taken = list(_taken(text, case))
            if taken:
                faults.append(
                    f"{line.source} gives vfio-pci the ids {text}, which take"
                    f" {', '.join(taken)} as well: take {text} out of that"
                    " file, or select what they take"
                )
    if faults:
        raise errors.Refused("; ".join(faults))


def refuse_identical(case: BindingCase) -> None:
    """Nothing, where no other function has a target's ids.

    :raises Refused: naming those that have, or may have.
    """
    faults = [
        f"the ids {ids} would take {', '.join(taken)} as well, which"
        f" {'was' if len(taken) == 1 else 'were'} not selected"
        for ids in dict.fromkeys(target.ids for target in case.targets)
        if (taken := list(_taken(ids, case)))
    ]
    if faults:
        raise errors.Refused(
            f"{'; '.join(faults)}: use --binding address, or select them too"
        )


def _taken(text: str, case: BindingCase) -> Iterator[str]:
    """Addresses of functions that stay with the host, and that ids take."""
    parsed = vfio_pci_ids.parse(text)
    if parsed is None:
        return
    for function in case.others:
        if parsed.matches(function):
            yield f"{function.address}{_doubt(function)}"


def _doubt(function: Function) -> str:
    ids = (function.vendor_id, function.product_id)
    lost = next((value for value in ids if isinstance(value, Unknown)), None)
    return "" if lost is None else f" (whose ids are unknown: {lost})"
