"""Names of PCI vendors, devices and classes, from a pci.ids database."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence

from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.reading import Unknown

# Debian's and Red Hat's.
SYSTEM = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
PACKAGED = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "data",
    "pci.ids",
)
# A block ends where a line begins with neither a tab nor a comment.
_END = re.compile(rb"\n(?=[^\t#\n])")


class Names:
    """Names by their ids; None for ids that no database has.

    Files are opened for the first name, and searched as bytes: parsing a
    whole one takes longer than everything else in a listing.  A missing or
    unreadable file is skipped, because names are decoration only.

    :param files: searched in this order, the packaged one last.
    """

    def __init__(self, files: Sequence[str] = SYSTEM) -> None:
        self._files = (*files, PACKAGED)

    def vendor(self, vendor_id: int) -> str | None:
        """Return a name such as ``NVIDIA Corporation``."""
        return self._first(b"%04x" % vendor_id)

    def device(self, vendor_id: int, product_id: int) -> str | None:
        """Return a name such as ``GM206GL [Quadro M2000]``."""
        return self._first(b"%04x" % vendor_id, b"%04x" % product_id)

    def class_of(self, code: int) -> str | None:
        """Return a name such as ``VGA compatible controller``.

        The subclass's; the base class's where that has none.

        :param code: 24 bits.
        """
        base = b"C %02x" % (code >> 16)
        subclass = self._first(base, b"%02x" % (code >> 8 & 0xFF))
        return subclass or self._first(base)

    def function(self, function: Function) -> str:
        """Return vendor and device as lspci shows them; empty without ids."""
        return " ".join(self.pair(function)).strip()

    def pair(self, function: Function) -> tuple[str, str]:
        """Return vendor and device; both are empty without ids."""
        vendor_id, product_id = function.vendor_id, function.product_id
        if isinstance(vendor_id, Unknown) or isinstance(product_id, Unknown):
            return "", ""
        vendor = self.vendor(vendor_id) or f"Vendor {vendor_id:04x}"
        device = self.device(vendor_id, product_id)
        return vendor, device or f"Device {product_id:04x}"

    def _first(self, block: bytes, entry: bytes = b"") -> str | None:
        for file in self._files:
            name = _name(_block(file, block), entry)
            if name is not None:
                return name
        return None


@functools.lru_cache(maxsize=8)
def _database(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return b"\n" + opened.read()
    except OSError:
        return b""


@functools.lru_cache(maxsize=256)
def _block(file: str, block: bytes) -> bytes:
    """Return a vendor's or class's lines, without its id; empty if none."""
    data = _database(file)
    start = data.find(b"\n%s  " % block)
    if start < 0:
        return b""
    start += 1 + len(block)
    match = _END.search(data, start)
    return data[start : match.start() if match else None]


def _name(block: bytes, entry: bytes) -> str | None:
    """Return an entry's name; for an empty entry, the block's own.

    Subsystems, which begin with two tabs, are skipped.
    """
    start = 0
    if entry:
        start = block.find(b"\n\t%s  " % entry)
        if start < 0:
            return None
        start += 2 + len(entry)
    end = block.find(b"\n", start)
    name = block[start : end if end >= 0 else None].strip()
    return name.decode("utf-8", "replace") or None
