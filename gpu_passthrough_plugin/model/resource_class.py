"""Names of Placement's resource classes as Nova makes them."""

from __future__ import annotations

import re

# Source: os-resource-classes 1.1.0 (STANDARDS).
_STANDARD = frozenset(
    {
        "DISK_GB",
        "FPGA",
        "IPV4_ADDRESS",
        "MEMORY_MB",
        "MEM_ENCRYPTION_CONTEXT",
        "NET_BW_EGR_KILOBIT_PER_SEC",
        "NET_BW_IGR_KILOBIT_PER_SEC",
        "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
        "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
        "NET_PACKET_RATE_KILOPACKET_PER_SEC",
        "NUMA_CORE",
        "NUMA_MEMORY_MB",
        "NUMA_SOCKET",
        "NUMA_THREAD",
        "PCI_DEVICE",
        "PCPU",
        "PGPU",
        "SRIOV_NET_VF",
        "VCPU",
        "VGPU",
        "VGPU_DISPLAY_HEAD",
    }
)

# Source: placement, schemas/resource_class.py and schemas/common.py.
_CUSTOM = re.compile("CUSTOM_[A-Z0-9_]+")
_MOST = 255

EXPECTED = (
    "CUSTOM_ with capitals, digits and _, or a standard class such as PGPU,"
    f" of at most {_MOST} characters"
)


def is_class(text: str) -> bool:
    """Return whether Placement accepts it as the name of a class."""
    is_custom = len(text) <= _MOST and _CUSTOM.fullmatch(text) is not None
    return text in _STANDARD or is_custom


def of_ids(vendor_id: int, product_id: int) -> str:
    """Return the class that Nova makes of a device's ids.

    Source: nova, compute/pci_placement_translator.py (get_resource_class).
    """
    return f"CUSTOM_PCI_{vendor_id:04X}_{product_id:04X}"


def normal(name: str) -> str:
    """Return the class that Nova reads from a name in its configuration.

    Source: nova, compute/pci_placement_translator.py
    (_normalize_resource_class).
    """
    upper = name.upper()
    if upper in _STANDARD or upper.startswith("CUSTOM_"):
        return upper
    return f"CUSTOM_{re.sub('[^0-9A-Z]+', '_', upper)}"
