from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis.causes import vfio_module
from tests.unit.diagnosis.build import (
    LOST,
    PATH,
    card,
    case,
    cause,
    conf,
    confidence,
    enabled,
    found,
    image,
)
from tests.unit.diagnosis.examples.vfio_module import VFIO
from tests.unit.isolation.values import facts


def test_what_keeps_vfio_pci_away() -> None:
    rule = vfio_module.vfio_blacklisted
    line = cause(rule, case(**conf("blacklist vfio_pci")))
    assert (line.confidence, line.evidence) == (
        "likely",
        f"{PATH}:1: blacklist vfio_pci",
    )
    assert (
        confidence(rule, case(**conf("install vfio-pci /bin/false")))
        == "certain"
    )
    assert confidence(rule, case(**conf("remove vfio-pci /bin/false"))) == ""


def test_a_file_that_modprobe_passes_over() -> None:
    odd = found(names={"/etc/modprobe.d": ("blacklist", "vfio.cfg")})
    passed_over = cause(vfio_module.modprobe_unread, case(installation=odd))
    assert passed_over.confidence == "possible"
    assert "/etc/modprobe.d/vfio.cfg" in passed_over.evidence
    plain = found(names={"/etc/modprobe.d": ("blacklist",)})
    assert (
        confidence(vfio_module.modprobe_unread, case(installation=plain)) == ""
    )
    log = ("vfio_pci: unknown parameter 'id' ignored",)
    assert cause(vfio_module.modprobe_unread, case(log=log)).evidence == log[0]


@pytest.mark.parametrize(
    "line",
    [
        "systemd-modules-load[1]: Failed to find module 'vfio_pci'",
        "modprobe: FATAL: Module vfio-pci not found in directory /lib",
        "gpu-passthrough: vfio-pci cannot be loaded",
    ],
)
def test_a_log_that_misses_vfio_pci(line: str) -> None:
    missing = cause(vfio_module.vfio_missing, case(log=(line,)))
    assert (missing.confidence, missing.evidence) == ("likely", line)
    assert (
        confidence(vfio_module.vfio_missing, case(log=(line,), has_vfio=True))
        == ""
    )


def test_an_image_without_vfio_pci_and_nobody_there_first() -> None:
    free = case(*card(driver=None), **image(enablement=enabled()))
    assert confidence(vfio_module.vfio_not_in_image, free) == "possible"
    unknown = facts(kernel_release=LOST)
    lost = case(**image(enablement=enabled()), facts=unknown)
    assert confidence(vfio_module.vfio_not_in_image, lost) == ""
    older = case(images={"5.10.0": (VFIO,)}, enablement=enabled())
    assert confidence(vfio_module.script_not_in_image, older) == ""
