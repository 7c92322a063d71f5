"""The counters of PCI Express errors (AER) that sysfs has of a function.

Each file has a line for each kind of error, and a total of messages at its
end.  A kind has several words up to Linux 5.7 (``Receiver Error``) and one
since (``RxErr``); one that the kernel has no name for is a bit
(``dev_cor_errs_bit[9]``), and shown only once it was counted.

Source: Linux, Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats,
drivers/pci/pcie/aer.c (aer_stats_dev_attr).
"""

from __future__ import annotations

from gpu_passthrough_plugin.model.function_health import AerCounters
from gpu_passthrough_plugin.model.reading import Unknown, Why, decoded

UNSUPPORTED_REQUEST = frozenset({"UnsupReq", "Unsupported Request"})
"""A request that the function does not support: its name, and that before."""

# A severity has one bit for each kind in a register of 32.
_MOST_KINDS = 32
_MOST_KIND_CHARACTERS = 40
_TOTAL = "TOTAL_ERR_"
# The kernel counts with 64 bits.
_MOST_DIGITS = 20


def parse(data: bytes | Unknown) -> AerCounters | Unknown:
    """Return the counters of one severity, from such as ``aer_dev_fatal``."""
    if isinstance(data, Unknown):
        return data
    by_kind: dict[str, int] = {}
    total = None
    for line in decoded(data).splitlines():
        kind, _, digits = line.rpartition(" ")
        is_number = digits.isascii() and digits.isdecimal()
        if not kind or not is_number or len(digits) > _MOST_DIGITS:
            return Unknown(Why.MALFORMED, line[:80])
        if kind.startswith(_TOTAL):
            total = int(digits)
        elif len(kind) > _MOST_KIND_CHARACTERS or len(by_kind) == _MOST_KINDS:
            return Unknown(Why.MALFORMED, f"{line[:80]}: too long")
        else:
            by_kind[kind.strip()] = int(digits)
    if total is None:
        return Unknown(Why.MALFORMED, f"no line begins with {_TOTAL}")
    return AerCounters(by_kind, total)
