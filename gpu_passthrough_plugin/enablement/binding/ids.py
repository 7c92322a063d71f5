"""Binding by ids: vfio-pci's own option, loaded before other drivers."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.binding import conflicts
from gpu_passthrough_plugin.enablement.driver import (
    BindingCase,
    BindingDriver,
    BindingPlan,
    InitramfsContent,
)
from gpu_passthrough_plugin.enablement.own_files import OwnFile
from gpu_passthrough_plugin.formats import modprobe
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.formats.vfio_pci_ids import IdList
from gpu_passthrough_plugin.model.installation import Installation, Reads
from gpu_passthrough_plugin.model.reading import Unknown

_OSTREE = "/run/ostree-booted"


class IdsBinding(BindingDriver):
    """``ids=`` and ``softdep``, in a file that every image holds as well."""

    name = "ids"
    reads = modprobe.READS | Reads(files=(_OSTREE,))

    def plan(self, case: BindingCase) -> BindingPlan:
        """Return what is needed to bind exactly the targets.

        :raises Refused: also when a driver that is built in would bind a
            target first, or another file gives vfio-pci other ids.
        """
        conflicts.refuse_unidentified(case)
        conflicts.refuse_identical(case)
        conflicts.refuse_captured(case)
        ids = tuple(dict.fromkeys(target.ids for target in case.targets))
        requirements = _requirements(case.installation, ids)
        lists = conflicts.foreign_lists(case.installation)
        if not requirements.lists:
            # Otherwise the boot loader's plan adds to such a list.
            lists += conflicts.cmdline_lists(case)
        _refuse_other_list(lists, ids)
        _refuse_built_in(case)
        return BindingPlan(
            own_files.writes(
                case.installation,
                OwnFile("bind by ids", own_files.MODPROBE, _text(case, ids)),
            ),
            requirements,
            InitramfsContent("", own_files.MODULES, (own_files.MODPROBE,)),
        )


def _text(case: BindingCase, ids: tuple[str, ...]) -> str:
    """Source: modprobe.d(5): ``options``, ``softdep``."""
    rivals = sorted({m for target in case.targets for m in target.modules})
    rows = (
        f"options vfio-pci ids={','.join(ids)}",
        *(f"softdep {name} pre: vfio-pci" for name in rivals),
    )
    return own_files.HEADER + "".join(f"{row}\n" for row in rows)


def _requirements(
    installation: Installation, ids: tuple[str, ...]
) -> Requirements:
    """Return the kernel arguments where modprobe.d is not enough.

    A vfio-pci that is built in, or may be, reads no file; a module takes
    the argument as well.  An image that is not built on this host holds no
    file of this product.
    """
    if _OSTREE in installation.files or any(
        isinstance(kernel.builtin, Unknown)
        or own_files.VFIO_PCI in kernel.builtin
        for kernel in installation.kernels
    ):
        return Requirements(lists=(("vfio-pci.ids", ids),))
    return Requirements()


def _refuse_other_list(lists: Iterable[IdList], ids: tuple[str, ...]) -> None:
    """Raise if another list has other ids: the module uses the last one."""
    for id_list in lists:
        if set(id_list.ids) != set(ids):
            place = id_list.path or id_list.source.partition(": ")[0]
            raise errors.Refused(
                f"{place} gives vfio-pci ids={','.join(id_list.ids)},"
                f" and ids={','.join(ids)} is needed; only one of two lists"
                " takes effect: remove ids= there, or use --binding"
                " address"
            )


def _refuse_built_in(case: BindingCase) -> None:
    """Raise if a driver that is built in would bind a target before vfio-pci
    loads."""
    for kernel in case.installation.kernels:
        if isinstance(kernel.builtin, Unknown):
            continue
        for target in case.targets:
            rivals = sorted(kernel.builtin.intersection(target.modules))
            if rivals:
                raise errors.Refused(
                    f"{rivals[0]} is built into kernel {kernel.release} and"
                    f" binds {target.address} before vfio-pci can: use"
                    " --binding address, which unbinds it"
                )
