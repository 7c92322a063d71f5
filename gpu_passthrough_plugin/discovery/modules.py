"""Which kernel modules offer themselves for a function."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterator

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.model.reading import Unknown

# ``pci:v000010DEd00001430…``: up to the vendor, and up to the product.
_VENDOR_END = len("pci:v000010DE")
_PRODUCT_END = len("pci:v000010DEd00001430")


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
    found = {line.split()[2] for line in matching(aliases, modalias)}
    return tuple(sorted(found))


@functools.lru_cache(maxsize=2)
def _aliases(tree: Tree, release: str) -> bytes | Unknown:
    """Read once for all functions: it is a megabyte."""
    return tree.read(f"lib/modules/{release}/modules.alias")


def matching(aliases: bytes, modalias: str) -> list[str]:
    """The lines of ``modules.alias`` that match one function.

    Only lines that begin as its modalias does are compared whole: one
    vendor has thousands, and comparing a pattern takes a tenth of a
    millisecond.
    """
    if not modalias.startswith("pci:v"):
        return []
    vendor = modalias[:_VENDOR_END]
    prefixes = {modalias[:_PRODUCT_END], f"{vendor}d*", "pci:v*"}
    lines = [
        line
        for prefix in prefixes
        for line in _beginning(aliases, f"alias {prefix}".encode())
    ]
    return [
        line
        for line in lines
        if fnmatch.fnmatchcase(modalias, line.split()[1])
    ]


def _beginning(aliases: bytes, prefix: bytes) -> list[str]:
    """Lines of three words that begin so."""
    lines = []
    at = aliases.find(prefix)
    while at >= 0:
        end = aliases.find(b"\n", at)
        end = len(aliases) if end < 0 else end
        line = aliases[at:end].decode("utf-8", "surrogateescape")
        if len(line.split()) == 3:
            lines.append(line)
        at = aliases.find(prefix, end)
    return lines
