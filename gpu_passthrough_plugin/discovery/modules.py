"""Which kernel modules offer themselves for a function."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import modules_alias
from gpu_passthrough_plugin.model.reading import Unknown


def modules(tree: Tree, modalias: str | Unknown) -> tuple[str, ...] | Unknown:
    """Names of the running kernel's modules that match, sorted.

    Built-in drivers are not among them: they have no module.
    Source: modprobe(8), modules.alias of depmod(8).
    """
    if isinstance(modalias, Unknown):
        return modalias
    release = text(tree, "proc/sys/kernel/osrelease")
    if isinstance(release, Unknown):
        return release
    aliases = _aliases(tree, release)
    if isinstance(aliases, Unknown):
        return aliases
    return _matching_names(aliases, modalias)


def vfio_drivers(tree: Tree) -> frozenset[str] | Unknown:
    """Return the names of the running kernel's VFIO drivers, with ``_``."""
    release = text(tree, "proc/sys/kernel/osrelease")
    if isinstance(release, Unknown):
        return release
    aliases = _aliases(tree, release)
    if isinstance(aliases, Unknown):
        return aliases
    return _vfio_drivers(aliases)


def has(tree: Tree, release: str | Unknown, name: str) -> bool | Unknown:
    """Whether a kernel has a module, built in or to be loaded.

    :param name: with ``_``, whatever the file is called.
    """
    if isinstance(release, Unknown):
        return release
    found: bool | Unknown = False
    for index in ("modules.dep", "modules.builtin"):
        data = tree.read(f"lib/modules/{release}/{index}")
        if isinstance(data, Unknown):
            found = data
        elif any(is_of(line, name) for line in _paths(data)):
            return True
    return found


def is_of(path: str, name: str) -> bool:
    """Whether a module's file is called that."""
    file = path.rpartition("/")[2].partition(".")[0]
    return file.replace("-", "_") == name


def _paths(index: bytes) -> Iterator[str]:
    """Of ``modules.dep``'s lines what stands before the colon."""
    for line in index.decode("utf-8", "surrogateescape").split("\n"):
        yield line.partition(":")[0]


# Cards of one model share a modalias.
@functools.lru_cache(maxsize=256)
def _matching_names(aliases: bytes, modalias: str) -> tuple[str, ...]:
    lines = modules_alias.matching(aliases, modalias)
    return tuple(sorted({line.split()[2] for line in lines}))


@functools.lru_cache(maxsize=2)
def _vfio_drivers(aliases: bytes) -> frozenset[str]:
    return modules_alias.vfio_drivers(aliases)


@functools.lru_cache(maxsize=2)
def _aliases(tree: Tree, release: str) -> bytes | Unknown:
    """Read once for all functions: it is a megabyte."""
    return tree.read(f"lib/modules/{release}/modules.alias")
