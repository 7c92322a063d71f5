"""Hosts that do not send the function to vfio-pci."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Confidence
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import Unknown
from tests.unit.diagnosis.build import (
    ALL_IDS,
    BY_ADDRESS,
    BY_IDS,
    HALF_IDS,
    LOST,
    PATH,
    arguments,
    card,
    case,
    conf,
    enabled,
    found,
    member,
)
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import audio, gpu

ADDED = "vfio_pci: add [10de:1430[ffffffff:ffffffff]] class 0x000000/00000000"
ALL_ADDED = (ADDED, ADDED.replace("1430", "0fba"))
# The audio function is the one that the seed forgot.
AUDIO, GPU = card()[1], card()[0]


def held(override: str | Unknown | None) -> Member:
    return member(gpu(driver="nouveau"), driver_override=override)


HIDDEN = "/etc/modprobe.d/secret.conf"
LEFT_ALONE = "gpu-passthrough: 0000:06:00.0 is left alone: no driver_override"
INVALID = 'vfio_pci: invalid id string "10de:143O"'


EXAMPLES = {
    "not-enabled": Example(
        case(),
        Confidence.CERTAIN,
        "driver_override",
        (
            case(**conf(HALF_IDS)),
            case(enablement=BY_ADDRESS),
            case(**arguments("vfio-pci.ids=10de:1430")),
            case(log=(ADDED,)),
            case(held("vfio-pci")),
        ),
        (
            case(
                installation=found({HIDDEN: ""})._replace(files={HIDDEN: LOST})
            ),
        ),
    ),
    "ids-invalid": Example(
        case(GPU, AUDIO, log=(INVALID,)),
        Confidence.LIKELY,
        "invalid id string",
        (
            case(GPU, AUDIO, log=(INVALID,), enablement=BY_ADDRESS),
            case(GPU, AUDIO, log=(INVALID, *ALL_ADDED)),
        ),
    ),
    "ids-incomplete": Example(
        case(AUDIO, GPU, **conf(HALF_IDS)),
        Confidence.CERTAIN,
        f"{PATH}:1: {HALF_IDS}",
        (
            case(AUDIO, GPU, **conf(ALL_IDS)),
            case(AUDIO, GPU, **conf("options vfio-pci ids=10de:ffffffff")),
            case(AUDIO, GPU, **conf("options vfio-pci ids=1002:67df")),
            case(AUDIO, GPU, **conf(HALF_IDS), enablement=BY_ADDRESS),
            case(AUDIO, GPU, log=ALL_ADDED),
            case(GPU, member(audio(driver="vfio-pci")), **conf(HALF_IDS)),
            # It hides the file of the same name that lacks one.
            case(
                AUDIO,
                GPU,
                installation=found(
                    {PATH: ALL_IDS, "/lib/modprobe.d/vfio.conf": HALF_IDS}
                ),
            ),
        ),
        (
            case(GPU, AUDIO, **conf(HALF_IDS)),
            case(AUDIO, GPU, log=(ADDED,)),
        ),
    ),
    "ids-stale": Example(
        case(AUDIO, GPU, **conf(ALL_IDS), log=(ADDED,)),
        Confidence.LIKELY,
        ADDED,
        (
            case(AUDIO, GPU, **conf(ALL_IDS), log=ALL_ADDED),
            case(AUDIO, GPU, **conf(ALL_IDS), log=()),
            case(AUDIO, GPU, **conf(HALF_IDS), log=(ADDED,)),
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
        (
            case(
                member(gpu(driver="nouveau"), driver_override=LOST),
                log=(LEFT_ALONE,),
                enablement=BY_ADDRESS,
            ),
        ),
    ),
}
