"""Hosts that do not load vfio-pci, or without its options."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Confidence
from tests.unit.diagnosis.build import (
    ALL_IDS,
    BY_ADDRESS,
    BY_IDS,
    HALF_IDS,
    LOST,
    PATH,
    RELEASE,
    arguments,
    case,
    conf,
    found,
    image,
)
from tests.unit.diagnosis.examples.example import Example

VFIO = f"usr/lib/modules/{RELEASE}/kernel/drivers/vfio/pci/vfio-pci.ko.zst"
SCRIPT = "scripts/init-top/gpu-passthrough"


BAD_LINE = (
    "libkmod: ERROR: kmod_config_parse: /etc/modprobe.d/vfio.conf line 2:"
    " ignoring bad line starting with '10de:1b81'"
)

EXAMPLES = {
    "vfio-missing": Example(
        case(has_vfio=False),
        Confidence.CERTAIN,
        "modules.dep has no vfio-pci.ko",
        (
            case(),
            case(has_vfio=True),
            case(has_vfio=False, installation=found(builtin=["vfio_pci"])),
        ),
        (
            case(
                log=(
                    "systemd-modules-load[1]: Failed to find module"
                    " 'vfio_pci'",
                )
            ),
        ),
    ),
    "vfio-blacklisted": Example(
        case(**arguments("module_blacklist=nouveau,vfio-pci")),
        Confidence.CERTAIN,
        "/proc/cmdline: module_blacklist=nouveau,vfio-pci",
        (
            case(**conf("blacklist nouveau")),
            case(**arguments("modprobe.blacklist=nouveau")),
            case(**conf("#blacklist vfio-pci")),
            case(**conf("install vfio-pci /sbin/modprobe -i vfio-pci")),
        ),
        (case(**conf("blacklist vfio_pci")),),
    ),
    "modprobe-unread": Example(
        case(**conf(HALF_IDS.replace("options", "option"))),
        Confidence.CERTAIN,
        f"{PATH}:1: option vfio-pci ids=10de:1430",
        (
            case(**conf(ALL_IDS)),
            case(**conf("softdep nouveau pre: vfio-pci")),
            case(**conf(ALL_IDS, names={"/etc/modprobe.d": ("vfio",)})),
            case(log=("vfio_pci: unknown parameter 'disable_vga' ignored",)),
            case(log=(BAD_LINE.replace("vfio.conf", "alsa.conf"),)),
            case(
                installation=found(names={"/etc/modprobe.d": ("vfio.conf~",)})
            ),
        ),
        (
            case(installation=found(names={"/etc/modprobe.d": ("vfio.cfg",)})),
            case(log=("vfio_pci: unknown parameter 'id' ignored",)),
            case(log=(BAD_LINE,)),
            case(**conf("options vfio-pci\n10de:1b81,\n")),
        ),
    ),
    "builtin-vfio": Example(
        case(**conf(ALL_IDS, builtin=["vfio_pci"])),
        Confidence.CERTAIN,
        f"{PATH}:1: {ALL_IDS}",
        (
            case(**conf(ALL_IDS)),
            case(**conf("options vfio-pci ids=1002:1", builtin=["vfio_pci"])),
            case(
                **conf(ALL_IDS, builtin=["vfio_pci"]),
                **arguments("vfio-pci.ids=10de:1430,10de:0fba"),
            ),
        ),
    ),
    "vfio-not-in-image": Example(
        case(**image(enablement=BY_IDS)),
        Confidence.LIKELY,
        f"/boot/initrd.img-{RELEASE} (1 files): no vfio-pci.ko",
        (
            case(**image(VFIO, enablement=BY_IDS)),
            case(images={RELEASE: LOST}, enablement=BY_IDS),
            case(images={"5.10.0": ("init",)}, enablement=BY_IDS),
            case(
                **image(enablement=BY_IDS),
                installation=found(builtin=["vfio_pci"]),
            ),
            case(**image()),
        ),
    ),
    "script-not-in-image": Example(
        case(
            **image(
                "etc/modprobe.d/gpu-passthrough.conf", enablement=BY_ADDRESS
            )
        ),
        Confidence.LIKELY,
        "no gpu-passthrough",
        (
            case(**image(SCRIPT, enablement=BY_ADDRESS)),
            case(**image(enablement=BY_IDS)),
            case(images={RELEASE: LOST}, enablement=BY_ADDRESS),
        ),
    ),
    "options-not-in-image": Example(
        case(**image(VFIO), **conf(ALL_IDS)),
        Confidence.LIKELY,
        f"no {PATH}",
        (
            case(**image(VFIO, "etc/modprobe.d/vfio.conf"), **conf(ALL_IDS)),
            case(**image(), **conf(ALL_IDS)),
            case(**image(VFIO), **conf("options vfio-pci ids=1002:67df")),
            case(
                **image(VFIO),
                **conf(ALL_IDS),
                **arguments("vfio_pci.ids=10de:1430"),
            ),
        ),
    ),
}
