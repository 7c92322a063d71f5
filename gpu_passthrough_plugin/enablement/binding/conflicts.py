"""Functions that would be bound to vfio-pci without being selected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.driver import BindingCase
from gpu_passthrough_plugin.formats import modprobe, vfio_pci_ids
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown

_NO_VENDOR = (0, 0xFFFF)
"""What stands for a vendor that is not known, or of a dead function."""


def refuse_unidentified(case: BindingCase) -> None:
    """Raise if a target's vendor and product are not known.

    :raises Refused: naming these targets.
    """
    unknown = [t for t in case.targets if t.vendor_id in _NO_VENDOR]
    if unknown:
        names = ", ".join(str(target.address) for target in unknown)
        raise errors.Refused(
            f"the vendor and product ids of {names} could not be read, and"
            " without them a function cannot be recognised at boot; run this"
            " on the host itself as root"
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


def cmdline_lists(case: BindingCase) -> tuple[vfio_pci_ids.IdList, ...]:
    """Return the lists of ids on the command lines that are configured.

    modprobe hands them to the module as well, in an early script too.
    Source: modprobe(8), and ``modprobe --show-depends vfio-pci``.
    """
    return tuple(
        id_list._replace(source=f"{place}: {id_list.source}")
        for place, words in case.configured.items()
        for id_list in vfio_pci_ids.from_cmdline(words)
    )


def refuse_captured(case: BindingCase) -> None:
    """Raise if the host gives vfio-pci a function that is no target.

    By ids in a file of modprobe or on the kernel command line, or by a
    command that modprobe runs in place of loading the module.

    :raises Refused: naming the file, the ids and the functions.
    """
    faults = []
    lists = (*foreign_lists(case.installation), *cmdline_lists(case))
    # One argument is often in several boot entries.
    for ids, sources in _by_ids(lists).items():
        captured = list(_captured(ids, case))
        if captured:
            faults.append(
                f"{sources[0]} gives vfio-pci the ids {ids}, which take"
                f" {', '.join(captured)} as well: remove {ids} there, or"
                " select what they match"
            )
    faults += _commands(case.installation)
    if faults:
        raise errors.Refused("; ".join(faults))


def _by_ids(
    lists: Iterable[vfio_pci_ids.IdList],
) -> dict[str, list[str]]:
    """Return where each entry of the lists stands."""
    sources: dict[str, list[str]] = {}
    for id_list in lists:
        for ids in id_list.ids:
            sources.setdefault(ids, []).append(id_list.source)
    return sources


def _commands(installation: Installation) -> Iterator[str]:
    """Yield a fault for each command that is run in place of loading.

    One that only prevents loading is reported where that is judged.
    """
    for line in modprobe.configuration(installation):
        if line.module == vfio_pci_ids.MODULE and line.replaces_loading:
            yield (
                f"{line} runs a command in place of loading vfio-pci, which"
                " may take other functions as well: remove that line, and"
                " select what the command binds"
            )


def refuse_identical(case: BindingCase) -> None:
    """Raise if the ids of a target match a function that is no target.

    :raises Refused: naming those that they match, or may match.
    """
    faults = [
        f"the ids {ids} also match {', '.join(captured)}, which"
        f" {'was' if len(captured) == 1 else 'were'} not selected"
        for ids in dict.fromkeys(target.ids for target in case.targets)
        if (captured := list(_captured(ids, case)))
    ]
    if faults:
        raise errors.Refused(
            f"{'; '.join(faults)}: use --binding address, or select these too"
        )


def _captured(ids: str, case: BindingCase) -> Iterator[str]:
    """Yield the functions that are no target and that the ids match."""
    parsed = vfio_pci_ids.parse(ids)
    if parsed is None:
        return
    for function in case.others:
        if parsed.matches(function):
            yield f"{function.address}{_doubt(function)}"


def _doubt(function: Function) -> str:
    ids = (function.vendor_id, function.product_id)
    unknown = next((v for v in ids if isinstance(v, Unknown)), None)
    return "" if unknown is None else f" (whose ids are unknown: {unknown})"
