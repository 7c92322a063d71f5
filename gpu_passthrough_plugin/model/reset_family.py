"""Device families whose reset is known to fail: one table, with its sources.

What happened on this host counts for more than a row: a row warns, and takes
a reset out of the order; only ``is_lost`` keeps a unit from the next guest.
"""

from __future__ import annotations

from typing import NamedTuple

from gpu_passthrough_plugin.model.function import (
    AMD,
    DISPLAY_BASE_CLASS,
    INTEL,
    NVIDIA,
)

_ACCELERATOR_BASE_CLASS = 0x12


class ResetFamily(NamedTuple):
    """What is known of the resets of some devices.

    :param behaviour: what a reset does to one, after its address.
    :param remedy: what an operator can do.
    :param distrusts: methods of the kernel's that are not used for it.
    :param is_lost: whether each reset by VFIO leaves it dead until the host
        reboots.
    """

    name: str
    vendor_id: int
    product_ids: frozenset[int]
    behaviour: str
    remedy: str
    distrusts: frozenset[str] = frozenset()
    is_lost: bool = False


# Ids are those of pci.ids and of the lists that the sources name.
FAMILIES = (
    # Source: amd/MxGPU-Virtualization#25: FLR and bus reset alike; removal
    # and a rescan do not help.  Physical functions of MI300A, MI300X, MI308X,
    # MI325X, MI300X HF, MI350X and MI355X; their virtual functions are fine.
    ResetFamily(
        "AMD Instinct MI300 and MI350",
        AMD,
        frozenset(
            {0x74A0, 0x74A1, 0x74A2, 0x74A5, 0x74A8, 0x74A9, 0x75A0, 0x75A3}
        ),
        "a reset by VFIO leaves it dead until the host reboots",
        "give it to one guest a boot, or give guests its virtual functions",
        is_lost=True,
    ),
    # Source: gnif/vendor-reset, src/device-db.h (AMD_POLARIS10 to _NAVI14),
    # and its issues #3, #25, #66, #81.
    ResetFamily(
        "AMD Polaris, Vega and Navi 1x",
        AMD,
        frozenset(
            {
                # Polaris 10 and 20.
                *(0x67C0, 0x67C1, 0x67C2, 0x67C4, 0x67C7, 0x67C8, 0x67C9),
                *(0x67CA, 0x67CC, 0x67CF, 0x67D0, 0x67DF, 0x6FDF),
                # Polaris 11 and 12.
                *(0x67E0, 0x67E1, 0x67E3, 0x67E7, 0x67E8, 0x67E9, 0x67EB),
                *(0x67EF, 0x67FF, 0x6980, 0x6981, 0x6985, 0x6986, 0x6987),
                *(0x6995, 0x6997, 0x699F),
                # Vega 10 and 20.
                *(0x6860, 0x6861, 0x6862, 0x6863, 0x6864, 0x6867, 0x6868),
                *(0x6869, 0x686A, 0x686B, 0x686C, 0x686D, 0x686E, 0x686F),
                *(0x687F, 0x66A0, 0x66A1, 0x66A2, 0x66A3, 0x66A4, 0x66A7),
                0x66AF,
                # Navi 10, 12 and 14.
                *(0x7310, 0x7312, 0x7318, 0x7319, 0x731A, 0x731B, 0x731E),
                *(0x731F, 0x7340, 0x7341, 0x7347, 0x734F, 0x7360, 0x7362),
            }
        ),
        "often it does not start in a second guest (AMD's reset bug)",
        "load the module vendor-reset before vfio-pci; without it, give it to"
        " one guest a boot",
    ),
    # Source: gnif/vendor-reset#80: its reset of Vega 20 does not help.
    ResetFamily(
        "AMD Instinct MI100",
        AMD,
        frozenset({0x7388, 0x738C, 0x738E}),
        "it may not start in a second guest before the host reboots",
        "give it to one guest a boot",
    ),
    # Source: gnif/vendor-reset#73, #82 (Renoir, Phoenix);
    # isc30/ryzen-gpu-passthrough-proxmox#77 (Raphael).
    ResetFamily(
        "graphics of AMD's Renoir, Cezanne, Phoenix and Raphael processors",
        AMD,
        frozenset({0x1636, 0x1638, 0x15BF, 0x1900, 0x164E}),
        "it may show nothing in a second guest, or hang the host",
        "have a Windows guest switch it off as it ends (RadeonResetBugFix), or"
        " give it to one guest a boot",
    ),
    # Source: gnif/vendor-reset#97.
    ResetFamily(
        "AMD Navi 32",
        AMD,
        frozenset({0x747E}),
        "the host may hang when its guest ends",
        "try that before the host has other guests",
    ),
    # Source: tinygrad/tinygrad#18199: after an FLR, config space reads
    # ffff0001 for hours; newer kernels have quirk_no_flr for these.
    ResetFamily(
        "NVIDIA GB202 (GeForce RTX 5090)",
        NVIDIA,
        frozenset({0x2B85, 0x2B87, 0x2B8C}),
        "it does not come back from a function-level reset",
        "give all its functions to one guest: then its bus is reset instead",
        distrusts=frozenset({"flr"}),
    ),
    # Source: Linux, drivers/pci/quirks.c (quirk_nvidia_no_bus_reset).
    ResetFamily(
        "NVIDIA GH200",
        NVIDIA,
        frozenset(range(0x2340, 0x2380)),
        "it does not come back from a bus reset",
        "leave its function-level reset (flr) in reset_method",
        distrusts=frozenset({"bus", "cxl_bus"}),
    ),
    # Source: patmagauran/i915ovmfPkg#23, intel/gvt-linux#189.
    ResetFamily(
        "Intel HD and UHD Graphics 630",
        INTEL,
        frozenset({0x5912, 0x9BC5, 0x9BC8}),
        "on some boards it does not come back from a function-level reset,"
        " and the host freezes",
        "try that before the host has other guests",
    ),
)


def family(vendor_id: object, product_id: object) -> ResetFamily | None:
    """Return what is known of a device's resets; None for nothing."""
    for row in FAMILIES:
        if vendor_id == row.vendor_id and product_id in row.product_ids:
            return row
    return None


def is_lost_by_reset(vendor_id: object, product_id: object) -> bool:
    """Return whether a reset by VFIO leaves such a function dead.

    It reads ff until the host reboots; its virtual functions do not.
    """
    row = family(vendor_id, product_id)
    return row is not None and row.is_lost


def distrusted(
    vendor_id: int, product_id: int, class_code: int
) -> frozenset[str]:
    """Return the reset methods that such a function is not reset by."""
    row = family(vendor_id, product_id)
    methods = row.distrusts if row else frozenset()
    # From D3hot to D0, AMD's graphics keep their state although they say that
    # they reset.  The kernel knows that of class 0300 alone.
    # Source: Linux, drivers/pci/quirks.c (quirk_no_pm_reset).
    if vendor_id == AMD and class_code >> 16 in (
        DISPLAY_BASE_CLASS,
        _ACCELERATOR_BASE_CLASS,
    ):
        methods |= {"pm"}
    return methods
