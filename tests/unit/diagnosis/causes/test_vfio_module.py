from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis.causes import vfio_module
from gpu_passthrough_plugin.model.reading import Unknown
from tests.unit.diagnosis.build import (
    LOST,
    PATH,
    Fields,
    card,
    case,
    cause,
    conf,
    confidence,
    enabled,
    found,
    image,
    member,
)
from tests.unit.diagnosis.examples.vfio_module import VFIO
from tests.unit.isolation.values import facts, gpu


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


@pytest.mark.parametrize("has_vfio", [False, LOST])
def test_a_bound_function_proves_that_vfio_pci_is_there(
    has_vfio: bool | Unknown,
) -> None:
    line = "systemd-modules-load[1]: Failed to find module 'vfio_pci'"
    fields: Fields = {"log": (line,), "has_vfio": has_vfio}
    on_vfio = member(gpu("82:00.0", driver="vfio-pci"))
    alone, joined = case(*card(), **fields), case(*card(), on_vfio, **fields)
    assert confidence(vfio_module.vfio_missing, alone) != ""
    assert confidence(vfio_module.vfio_missing, joined) == ""


def test_an_image_without_vfio_pci_and_nobody_there_first() -> None:
    free = case(*card(driver=None), **image(enablement=enabled()))
    assert confidence(vfio_module.vfio_not_in_image, free) == "possible"
    unknown = facts(kernel_release=LOST)
    lost = case(**image(enablement=enabled()), facts=unknown)
    assert confidence(vfio_module.vfio_not_in_image, lost) == ""
    older = case(images={"5.10.0": (VFIO,)}, enablement=enabled())
    assert confidence(vfio_module.script_not_in_image, older) == ""
