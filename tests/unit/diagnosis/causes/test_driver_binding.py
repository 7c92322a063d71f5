from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes import driver_binding
from gpu_passthrough_plugin.model.function import Header
from tests.unit.diagnosis.build import (
    LOST,
    case,
    cause,
    conf,
    confidence,
    found,
    member,
    target,
)
from tests.unit.diagnosis.examples.driver_binding import DENIED, NOUVEAU, QAT
from tests.unit.isolation.values import gpu, port


def test_a_bridge_by_its_class_only() -> None:
    guessed = case(member(port("06:00.0", driver="pcieport"), header=LOST))
    assert confidence(driver_binding.bridge, guessed) == "likely"
    other = case(
        member(port("06:00.0", driver="pcieport"), header=Header.ENDPOINT)
    )
    assert confidence(driver_binding.bridge, other) == ""


def test_denied_by_its_ids() -> None:
    assert confidence(driver_binding.denied, case(member(QAT))) == "likely"
    unlisted = case(log=(DENIED.replace("8086:37c8", "10de:1430"),))
    assert confidence(driver_binding.denied, unlisted) == "certain"
    for text in (
        "options nouveau disable_denylist=1",
        "softdep vfio-pci disable_denylist=1",
        "options vfio-pci disable_denylist=0",
    ):
        assert (
            confidence(driver_binding.denied, case(member(QAT), **conf(text)))
            == "likely"
        )


def test_a_driver_that_the_log_shows_to_be_first() -> None:
    vfio = "VFIO - User Level meta-driver version: 0.3"
    command = "Kernel command line: rd.driver.pre=vfio-pci"
    for log, is_first in (
        ((command, NOUVEAU, vfio), True),
        ((vfio, NOUVEAU), False),
        # A log that has lost its beginning.
        ((NOUVEAU,), False),
        ((vfio,), False),
    ):
        text = cause(driver_binding.competing_driver, case(log=log)).text
        assert "nouveau" in text and "0000:06:00.0" in text
        assert ("before vfio-pci" in text) is is_first
    silent = cause(driver_binding.competing_driver, case())
    assert (
        silent.evidence == "/sys/bus/pci/devices/0000:06:00.0/driver: nouveau"
    )


def test_a_driver_that_is_built_in_is_taken_by_address_only() -> None:
    made_in = found(builtin=["nouveau"])
    fix = cause(
        driver_binding.competing_driver, case(installation=made_in)
    ).fix
    assert "--binding address" in fix and "softdep" not in fix
    by_module = case(installation=found(builtin=["xhci_pci"]))
    wanted = target(gpu(), modules=("xhci_pci",))
    other = cause(
        driver_binding.competing_driver, by_module._replace(target=wanted)
    )
    assert "--binding address" in other.fix
    assert "softdep nouveau pre: vfio-pci" in cause(
        driver_binding.competing_driver, case()
    ).fix  # fmt: skip
