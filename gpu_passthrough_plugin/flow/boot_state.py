"""Read how a host boots, with every file that an installed driver reads."""

from __future__ import annotations

from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery import installation, modules
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.enablement import load
from gpu_passthrough_plugin.formats import modprobe, pci_removal
from gpu_passthrough_plugin.isolation import selection
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.installation import Installation, Reads
from gpu_passthrough_plugin.model.reading import Unknown


class BootState(NamedTuple):
    """How a host boots, and which boot this is.

    :param boot_id: the kernel's UUID of the running boot.
    :param has_vfio_pci: whether the running kernel has vfio-pci, as a
        module or built in.
    :param vfio_drivers: names of the running kernel's VFIO drivers, with
        ``_``.
    """

    installation: Installation
    boot_id: str | Unknown
    has_vfio_pci: bool | Unknown
    vfio_drivers: frozenset[str] | Unknown


def read(tree: Tree, facts: HostFacts) -> BootState:
    """Return how the host boots, read now."""
    return BootState(
        read_installation(tree),
        host_facts.boot_id(tree),
        modules.has(tree, facts.kernel_release, "vfio_pci"),
        modules.vfio_drivers(tree),
    )


def read_installation(tree: Tree) -> Installation:
    """Return boot loader, kernels, images and module configuration."""
    reads, _ = declared_reads()
    return installation.installation(tree, reads)


def declared_reads() -> tuple[Reads, tuple[errors.Invalid, ...]]:
    """Return all that drivers and diagnoses read of a host.

    The errors are of drivers that do not load.
    """
    reads, faults = load.declared_reads()
    return (
        reads | modprobe.READS | pci_removal.READS | Reads((selection.PATH,)),
        faults,
    )
