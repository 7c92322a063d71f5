"""Files of a host that belong to this product, and what they hold."""

from __future__ import annotations

from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.installation import Installation, encoded

HEADER = (
    "# Written by 'gpu-passthrough host enable'; 'host disable' removes it.\n"
)
MODPROBE = "/etc/modprobe.d/gpu-passthrough.conf"
"""Where ``ids=`` and the order of modules are written."""
MODULES = ("vfio", "vfio_iommu_type1", "vfio_pci")
"""What binding to vfio-pci needs, in the order in which it is loaded."""
VFIO_PCI = "vfio_pci"


def write(
    installation: Installation,
    step: str,
    path: str,
    text: str | None,
    mode: int = 0o644,
) -> tuple[Write, ...]:
    """Return what gives a file this text, whatever it holds now.

    :param text: None to remove the file; nothing is returned where there is
        no file to remove.
    """
    was = installation.content(path)
    becomes = None if text is None else encoded(text)
    if was is becomes is None:
        return ()
    return (Write(step, path, was, becomes, mode),)


def loadable(
    installation: Installation, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Return those of the modules that some kernel has to load.

    A module is left out only if every kernel is known to have it built in.
    """
    builtin = [
        kernel.builtin
        for kernel in installation.kernels
        if isinstance(kernel.builtin, frozenset)
    ]
    if not builtin or len(builtin) < len(installation.kernels):
        return names
    everywhere = frozenset.intersection(*builtin)
    return tuple(name for name in names if name not in everywhere)
