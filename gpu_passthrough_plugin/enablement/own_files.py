"""Files of a host that are this project's own, and what goes into them."""

from __future__ import annotations

from gpu_passthrough_plugin.model.change import Write
from gpu_passthrough_plugin.model.installation import Installation, encoded

HEADER = (
    "# Written by 'gpu-passthrough host enable', taken away by 'host"
    " disable'.\n"
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
    """What gives a file these contents, whatever is in it now.

    :param text: None for no file; where there is none, that is no change.
    """
    was = installation.content(path)
    becomes = None if text is None else encoded(text)
    if was is becomes is None:
        return ()
    return (Write(step, path, was, becomes, mode),)


def loadable(
    installation: Installation, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Those modules that some kernel has to load.

    Not those that every kernel is known to have built in.
    """
    known = [
        k.builtin
        for k in installation.kernels
        if isinstance(k.builtin, frozenset)
    ]
    if not known or len(known) < len(installation.kernels):
        return names
    everywhere = frozenset.intersection(*known)
    return tuple(name for name in names if name not in everywhere)
