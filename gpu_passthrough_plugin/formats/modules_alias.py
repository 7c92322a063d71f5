"""modules.alias: which kernel module a device's modalias asks for.

Source: depmod(8), modprobe(8); Linux, include/linux/mod_devicetable.h and
scripts/mod/file2alias.c (``vfio_pci:`` aliases, from 5.15 on).
"""

from __future__ import annotations

import fnmatch

from gpu_passthrough_plugin.model.reading import as_text, encoded

# Lengths of the prefixes of ``pci:v000010DEd00001430…`` that end with the
# vendor, and with the product.
_VENDOR_END = len("pci:v000010DE")
_PRODUCT_END = len("pci:v000010DEd00001430")
_VFIO = b"alias vfio_pci:"


def matching(aliases: bytes, modalias: str) -> list[str]:
    """Return the lines whose pattern matches a PCI function's modalias.

    Only patterns that begin with this vendor and product, with this vendor
    and ``d*``, or with ``v*`` are compared: a vendor can have thousands, and
    each comparison takes a tenth of a millisecond.

    :param aliases: the contents of ``modules.alias``.
    :param modalias: as in sysfs; one of another bus matches no line.
    """
    if not modalias.startswith("pci:v"):
        return []
    vendor = modalias[:_VENDOR_END]
    prefixes = (modalias[:_PRODUCT_END], f"{vendor}d*", "pci:v*")
    lines = [
        line
        for prefix in dict.fromkeys(prefixes)
        for line in _lines_with_prefix(aliases, encoded(f"alias {prefix}"))
    ]
    return [
        line
        for line in lines
        if fnmatch.fnmatchcase(modalias, line.split()[1])
    ]


def vfio_drivers(aliases: bytes) -> frozenset[str]:
    """Return the modules that are VFIO drivers for some PCI function.

    These are vfio-pci's variants, such as ``mlx5_vfio_pci``, and from Linux
    5.15 on ``vfio_pci`` itself.  Names of modules have ``_`` for ``-``.
    """
    return frozenset(line.split()[2] for line in vfio_lines(aliases))


def vfio_lines(aliases: bytes) -> list[str]:
    """Return the lines that name VFIO drivers."""
    return _lines_with_prefix(aliases, _VFIO)


def _lines_with_prefix(aliases: bytes, prefix: bytes) -> list[str]:
    """Return the lines ``alias PATTERN MODULE`` that begin with ``prefix``."""
    lines = []
    start = aliases.find(prefix)
    while start >= 0:
        end = aliases.find(b"\n", start)
        end = len(aliases) if end < 0 else end
        line = as_text(aliases[start:end])
        if len(line.split()) == 3:
            lines.append(line)
        start = aliases.find(prefix, end)
    return lines
