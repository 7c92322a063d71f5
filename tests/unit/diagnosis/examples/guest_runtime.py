"""Functions on vfio-pci that a guest cannot use."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Confidence
from gpu_passthrough_plugin.model.reading import MISSING
from tests.unit.diagnosis.build import (
    LOST,
    arguments,
    bound,
    case,
    found,
    member,
)
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import audio, facts, gpu

MAPPED = (
    "vfio-pci 0000:06:00.0: Firmware has requested this device have a 1:1"
    " IOMMU mapping, rejecting configuring the device without a 1:1 mapping."
)
HELD = "vfio-pci 0000:06:00.0: BAR 3: can't reserve [mem 0xf1000000]"
UNMAPPED = (
    "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the"
    ' module param "allow_unsafe_interrupts"'
)
CURE = "Kernel command line: quiet video=vesafb:off video=efifb:off"
# Intel's erratum of the 5500 chipset, and boards of AMD.
ERRATUM = "interrupt remapping is being disabled.  Please"
ENABLED = "DMAR-IR: Enabled IRQ remapping in x2apic mode"
UNSAFE = {
    "/etc/modprobe.d/a.conf": "options vfio_iommu_type1"
    " allow_unsafe_interrupts=1"
}


EXAMPLES = {
    "rmrr": Example(
        case(*bound(), log=(MAPPED,)),
        Confidence.CERTAIN,
        MAPPED,
        (case(log=(MAPPED.replace("06:00.0", "06:00.1"),)),),
    ),
    "framebuffer": Example(
        case(*bound(boot_vga=True), log=("efifb: probing", HELD)),
        Confidence.LIKELY,
        HELD,
        (
            case(*bound(), log=("efifb: probing for efifb",)),
            case(*bound(boot_vga=True)),
            case(*bound(boot_vga=LOST), log=("simple-framebuffer: on",)),
            case(*bound(boot_vga=True), log=(CURE,)),
            case(
                *bound(boot_vga=True),
                log=("efifb: probing for efifb",),
                **arguments("video=efifb:off"),
            ),
        ),
        (case(*bound(boot_vga=True), log=("efifb: probing for efifb",)),),
    ),
    "interrupt-remapping": Example(
        case(*bound(), log=(UNMAPPED,)),
        Confidence.CERTAIN,
        UNMAPPED,
        (
            case(*bound()),
            case(*bound(), installation=found(UNSAFE)),
            case(*bound(), facts=facts(kernel_arguments=("intremap=on",))),
            case(*bound(), log=(ERRATUM, ENABLED)),
        ),
        (
            case(*bound(), facts=facts(kernel_arguments=("nointremap",))),
            case(*bound(), log=(UNMAPPED,), installation=found(UNSAFE)),
            case(*bound(), log=(ERRATUM,)),
            case(*bound(), log=("AMD-Vi: Disabling interrupt remapping",)),
        ),
    ),
    "reset-shared": Example(
        case(
            member(gpu(driver="vfio-pci"), reset_methods=("bus",)),
            member(audio(driver="snd_hda_intel", iommu_group=37)),
        ),
        Confidence.POSSIBLE,
        "0000:06:00.1 in group 37 is on snd_hda_intel",
        (
            case(*bound(reset_methods=("bus",))),
            case(
                member(gpu(driver="vfio-pci"), reset_methods=("flr", "bus")),
                member(audio(iommu_group=37)),
            ),
            case(
                member(gpu(driver="vfio-pci"), reset_methods=("bus",)),
                member(audio(driver="vfio-pci", iommu_group=37)),
            ),
        ),
        (
            case(
                member(gpu(driver="vfio-pci"), reset_methods=("bus",)),
                member(audio(iommu_group=37)),
            ),
        ),
    ),
    "no-reset": Example(
        case(*bound(reset_methods=())),
        Confidence.LIKELY,
        "is empty",
        (
            case(*bound(reset_methods=("bus",))),
            case(*bound(reset_methods=MISSING)),
            case(member(gpu(), reset_methods=MISSING, bridges=())),
            case(*bound(reset_methods=LOST)),
        ),
        (
            case(
                *bound(reset_methods=MISSING, bridges=()),
                member(gpu("82:00.0")),
            ),
        ),
    ),
}
