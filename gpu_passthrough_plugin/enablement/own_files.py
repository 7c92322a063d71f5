"""Files of a host that belong to this product, and what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.installation import (
    Installation,
    Kernel,
    encoded,
)

HEADER = (
    "# Written by 'gpu-passthrough host enable'; 'host disable' removes it.\n"
)
MODPROBE = "/etc/modprobe.d/gpu-passthrough.conf"
"""Where ``ids=`` and the order of modules are written."""
MODULES = ("vfio", "vfio_iommu_type1", "vfio_pci")
"""What binding to vfio-pci needs, in the order in which it is loaded."""
VFIO_PCI = "vfio_pci"
SELECTION_STEP = "selection"
"""Of the change to the host's selection, whose file operators may edit."""


class OwnFile(NamedTuple):
    """What a file of this product should hold.

    :param step: what it is for, in a few words for the operator.
    :param text: None where there should be no such file.
    :param mode: of a file that is created.
    """

    step: str
    path: str
    text: str | None
    mode: int = 0o644


def writes(installation: Installation, *files: OwnFile) -> tuple[Write, ...]:
    """Return what gives the files their texts, whatever they hold now.

    A file that should not be there, and is not, needs no change.
    """
    changes = (
        Write(
            file.step,
            file.path,
            installation.content(file.path),
            None if file.text is None else encoded(file.text),
            file.mode,
        )
        for file in files
    )
    return tuple(
        change
        for change in changes
        if change.was is not None or change.becomes is not None
    )


def loadable(
    kernels: Sequence[Kernel], names: tuple[str, ...]
) -> tuple[str, ...]:
    """Return those of the modules that some kernel has to load.

    A module is left out only if every kernel is known to have it built in.
    """
    builtin = [
        kernel.builtin
        for kernel in kernels
        if isinstance(kernel.builtin, frozenset)
    ]
    if not builtin or len(builtin) < len(kernels):
        return names
    everywhere = frozenset.intersection(*builtin)
    return tuple(name for name in names if name not in everywhere)
