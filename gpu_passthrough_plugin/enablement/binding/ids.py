"""Binding by ids: vfio-pci's own option, and its place before drivers."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.binding import conflicts
from gpu_passthrough_plugin.enablement.driver import (
    BindingCase,
    BindingDriver,
    BindingPlan,
)
from gpu_passthrough_plugin.formats import modprobe
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.enablement import InitramfsContent
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.reads import Reads

_OSTREE = "/run/ostree-booted"


class IdsBinding(BindingDriver):
    """``ids=`` and ``softdep``, in a file that the image has as well."""

    name = "ids"
    reads = modprobe.READS | Reads(files=(_OSTREE,))

    def plan(self, case: BindingCase) -> BindingPlan:
        """What is needed.

        :raises Refused: besides, when a driver that is built in would be
            first, or another file gives vfio-pci other ids.
        """
        conflicts.refuse_unknown(case)
        conflicts.refuse_identical(case)
        conflicts.refuse_captured(case)
        ids = tuple(dict.fromkeys(target.ids for target in case.targets))
        _refuse_other(case.installation, ids)
        _refuse_built_in(case)
        return BindingPlan(
            own_files.write(
                case.installation,
                "bind by ids",
                own_files.MODPROBE,
                _text(case, ids),
            ),
            _arguments(case.installation, ids),
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


def _arguments(
    installation: Installation, ids: tuple[str, ...]
) -> Requirements:
    """A vfio-pci that is built in reads no file: it is told the ids too.

    So is one that may be, a module takes them as well, and one whose image
    is not built on this host, so that no file of ours gets into it.
    """
    if _OSTREE in installation.files or any(
        isinstance(k.builtin, Unknown) or own_files.VFIO_PCI in k.builtin
        for k in installation.kernels
    ):
        return Requirements(lists=(("vfio-pci.ids", ids),))
    return Requirements()


def _refuse_other(installation: Installation, ids: tuple[str, ...]) -> None:
    """Of several lists of ids the module takes one, the last."""
    for line in conflicts.foreign_lists(installation):
        if set(line.ids) != set(ids):
            raise errors.Refused(
                f"{line.path} gives vfio-pci ids={','.join(line.ids)}, and"
                f" ids={','.join(ids)} are wanted, of which one list would"
                " hide the other: take ids= out of that file, or use"
                " --binding address"
            )


def _refuse_built_in(case: BindingCase) -> None:
    """A driver that is built in has its functions before any module."""
    for kernel in case.installation.kernels:
        if isinstance(kernel.builtin, Unknown):
            continue
        for target in case.targets:
            first = sorted(kernel.builtin.intersection(target.modules))
            if first:
                raise errors.Refused(
                    f"{first[0]} is built into kernel {kernel.release} and"
                    f" would have {target.address} before vfio-pci: use"
                    " --binding address, which takes it away"
                )
