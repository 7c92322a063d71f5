"""Of modules, their configuration, images and drivers."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Confidence
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.diagnosis.build import (
    RELEASE,
    Fields,
    card,
    case,
    enabled,
    found,
    member,
)
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import audio, facts, gpu

LOST = Unknown(Why.UNREADABLE, "Permission denied")
PATH = "/etc/modprobe.d/vfio.conf"
BOTH = "options vfio-pci ids=10de:1430,10de:0fba"
HALF = "options vfio-pci ids=10de:1430"
ADDED = "vfio_pci: add [10de:1430[ffffffff:ffffffff]] class 0x000000/00000000"
ALL_ADDED = (ADDED, ADDED.replace("1430", "0fba"))
VFIO = f"usr/lib/modules/{RELEASE}/kernel/drivers/vfio/pci/vfio-pci.ko.zst"
SCRIPT = "scripts/init-top/gpu-passthrough"
BY_IDS, BY_ADDRESS = enabled(binding="ids"), enabled()
NOUVEAU = "nouveau 0000:06:00.0: NVIDIA GM206 (126010a1)"
# The audio function is the one that the seed forgot.
AUDIO, GPU = card()[1], card()[0]


def conf(text: str, path: str = PATH, **fields: Fields) -> Fields:
    """Evidence of a host with this module configuration."""
    return {"installation": found({path: f"{text}\n"}, **fields)}


def image(*names: str, **fields: Fields) -> Fields:
    """Evidence of a host whose initramfs has these files."""
    return {"images": {RELEASE: ("init", *names)}, **fields}


def arguments(*words: str) -> Fields:
    made = facts(kernel_arguments=words, kernel_release=RELEASE)
    return {"facts": made}


def held(override: str | Unknown | None) -> Member:
    return member(gpu(driver="nouveau"), driver_override=override)


DRIVER = {
    "vfio-missing": Example(
        case(has_vfio=False),
        Confidence.CERTAIN,
        "modules.dep has no vfio-pci.ko",
        (
            case(),
            case(has_vfio=True),
            case(has_vfio=False, installation=found(builtin=["vfio_pci"])),
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
    ),
    "modprobe-unread": Example(
        case(**conf(HALF.replace("options", "option"))),
        Confidence.CERTAIN,
        f"{PATH}:1: option vfio-pci ids=10de:1430",
        (
            case(**conf(BOTH)),
            case(**conf("softdep nouveau pre: vfio-pci")),
            case(**conf(BOTH, names={"/etc/modprobe.d": ("vfio",)})),
            case(
                installation=found(names={"/etc/modprobe.d": ("vfio.conf~",)})
            ),
        ),
    ),
    "builtin-vfio": Example(
        case(**conf(BOTH, builtin=["vfio_pci"])),
        Confidence.CERTAIN,
        f"{PATH}:1: {BOTH}",
        (
            case(**conf(BOTH)),
            case(**conf("options vfio-pci ids=1002:1", builtin=["vfio_pci"])),
            case(
                **conf(BOTH, builtin=["vfio_pci"]),
                **arguments("vfio-pci.ids=10de:1430,10de:0fba"),
            ),
        ),
    ),
    "not-enabled": Example(
        case(),
        Confidence.CERTAIN,
        "no ids= of vfio-pci names it",
        (
            case(**conf(HALF)),
            case(enablement=BY_ADDRESS),
            case(**arguments("vfio-pci.ids=10de:1430")),
            case(log=(ADDED,)),
            case(held("vfio-pci")),
        ),
    ),
    "ids-incomplete": Example(
        case(AUDIO, GPU, **conf(HALF)),
        Confidence.CERTAIN,
        f"{PATH}:1: {HALF}",
        (
            case(AUDIO, GPU, **conf(BOTH)),
            case(AUDIO, GPU, **conf("options vfio-pci ids=10de:ffffffff")),
            case(AUDIO, GPU, **conf("options vfio-pci ids=1002:67df")),
            case(AUDIO, GPU, **conf(HALF), enablement=BY_ADDRESS),
            case(AUDIO, GPU, log=ALL_ADDED),
            case(GPU, member(audio(driver="vfio-pci")), **conf(HALF)),
            # It hides the file of the same name that lacks one.
            case(
                AUDIO,
                GPU,
                installation=found(
                    {PATH: BOTH, "/lib/modprobe.d/vfio.conf": HALF}
                ),
            ),
        ),
    ),
    "ids-stale": Example(
        case(AUDIO, GPU, **conf(BOTH), log=(ADDED,)),
        Confidence.LIKELY,
        ADDED,
        (
            case(AUDIO, GPU, **conf(BOTH), log=ALL_ADDED),
            case(AUDIO, GPU, **conf(BOTH), log=()),
            case(AUDIO, GPU, **conf(HALF), log=(ADDED,)),
        ),
    ),
    "override-other": Example(
        case(held("pci-stub")),
        Confidence.CERTAIN,
        "driver_override: pci-stub",
        (case(held(None)), case(held("vfio-pci")), case(held(LOST))),
    ),
    "override-lost": Example(
        case(held(None), enablement=BY_ADDRESS),
        Confidence.LIKELY,
        "driver_override: (null)",
        (
            case(held(None)),
            case(held(None), enablement=BY_IDS),
            case(held("vfio-pci"), enablement=BY_ADDRESS),
            case(held(LOST), enablement=BY_ADDRESS),
            case(held(None), enablement=enabled(boot_id="now")),
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
        case(**image(VFIO), **conf(BOTH)),
        Confidence.LIKELY,
        f"no {PATH}",
        (
            case(**image(VFIO, "etc/modprobe.d/vfio.conf"), **conf(BOTH)),
            case(**image(), **conf(BOTH)),
            case(**image(VFIO), **conf("options vfio-pci ids=1002:67df")),
            case(
                **image(VFIO),
                **conf(BOTH),
                **arguments("vfio_pci.ids=10de:1430"),
            ),
        ),
    ),
    "competing-driver": Example(
        case(log=(NOUVEAU, "VFIO - User Level meta-driver version: 0.3")),
        Confidence.CERTAIN,
        NOUVEAU,
        (case(*card(driver=None)), case(*card(driver="vfio-pci"))),
    ),
}
