"""Which kernel modules the running kernel has, and which fit a function."""

from __future__ import annotations

import functools

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import modules_alias
from gpu_passthrough_plugin.model.function import VFIO_PCI
from gpu_passthrough_plugin.model.reading import Unknown, decoded

OSRELEASE = "proc/sys/kernel/osrelease"
_MODULES = "lib/modules"


def modules(tree: Tree, modalias: str | Unknown) -> tuple[str, ...] | Unknown:
    """Return the names of the running kernel's modules that match, sorted.

    Built-in drivers are not among them: they have no module.
    Source: modprobe(8), modules.alias of depmod(8).
    """
    if isinstance(modalias, Unknown):
        return modalias
    aliases = _running_aliases(tree)
    if isinstance(aliases, Unknown):
        return aliases
    return _matching_names(aliases, modalias)


def vfio_drivers(tree: Tree) -> frozenset[str] | Unknown:
    """Return the names of the running kernel's VFIO drivers, with ``_``."""
    aliases = _running_aliases(tree)
    return aliases if isinstance(aliases, Unknown) else _vfio_drivers(aliases)


def libvirt_keeps(tree: Tree, driver: str) -> bool:
    """Return whether libvirt leaves a managed function on a VFIO driver.

    On vfio-pci, and on the variant for the function that modules.alias
    names.  It takes the function off any other one, such as NVIDIA's for
    vGPUs.  Where modules.alias cannot be read, a variant's name tells it.

    Source: libvirt, formatdomain.html (host devices, ``<driver model>``,
    since 10.0.0); older ones bind vfio-pci, which a variant can do without.
    """
    if driver == VFIO_PCI:
        return True
    drivers = vfio_drivers(tree)
    if isinstance(drivers, Unknown):
        return "vfio" in driver
    return driver.replace("-", "_") in drivers


def has(tree: Tree, release: str | Unknown, name: str) -> bool | Unknown:
    """Return whether a kernel has a module, built in or to be loaded.

    :param name: with ``_``, whatever its file is called.
    """
    if isinstance(release, Unknown):
        return release
    missing: bool | Unknown = False
    # Lines of modules.dep name the modules that one needs behind a colon.
    for index in ("modules.dep", "modules.builtin"):
        data = tree.read(f"{_MODULES}/{release}/{index}")
        if isinstance(data, Unknown):
            missing = data
            continue
        paths = (line.partition(":")[0] for line in decoded(data).split("\n"))
        if any(module_name(path) == name for path in paths):
            return True
    return missing


def module_name(path: str) -> str:
    """Return the name of the module in a file, with ``_`` for ``-``."""
    file = path.rpartition("/")[2]
    return file.partition(".")[0].replace("-", "_")


def _running_aliases(tree: Tree) -> bytes | Unknown:
    release = text(tree, OSRELEASE)
    return release if isinstance(release, Unknown) else _aliases(tree, release)


# Cards of one model share a modalias.
@functools.lru_cache(maxsize=256)
def _matching_names(aliases: bytes, modalias: str) -> tuple[str, ...]:
    lines = modules_alias.matching(aliases, modalias)
    return tuple(sorted({line.split()[2] for line in lines}))


@functools.lru_cache(maxsize=2)
def _vfio_drivers(aliases: bytes) -> frozenset[str]:
    return modules_alias.vfio_drivers(aliases)


# A megabyte: read once for all functions.
@functools.lru_cache(maxsize=2)
def _aliases(tree: Tree, release: str) -> bytes | Unknown:
    return tree.read(f"{_MODULES}/{release}/modules.alias")
