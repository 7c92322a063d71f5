"""Each driver declares all that it reads: with no more it does the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.installation import installation
from gpu_passthrough_plugin.enablement import kernel_modules
from gpu_passthrough_plugin.enablement.driver import (
    BindingCase,
    BindingDriver,
    BootloaderDriver,
    Driver,
    InitramfsContent,
    InitramfsDriver,
)
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.installation import Installation, Reads
from tests.trees import installed
from tests.trees.systems import SYSTEMS

EARLY = InitramfsContent(
    "true\n", ("vfio", "vfio_pci"), ("/etc/modprobe.d/x.conf",)
)
ON = Requirements(("intel_iommu=on",), ("intel_iommu=off",))


def answers(driver: Driver, system: Installation) -> list[object]:
    """All that a driver says of a host, refusals included."""
    questions: list[Callable[[], object]] = []
    if isinstance(driver, BootloaderDriver):
        questions = [
            lambda: driver.claims(system),
            lambda: driver.configured(system),
            lambda: driver.plan(system, ON),
        ]
    elif isinstance(driver, InitramfsDriver):
        questions = [
            lambda: driver.claims(system),
            lambda: driver.files(system, EARLY),
            lambda: driver.files(system, InitramfsContent()),
            *(
                lambda k=k: driver.build(system, k, EARLY)
                for k in system.kernels
            ),
        ]
    elif isinstance(driver, BindingDriver):
        questions = [lambda: driver.plan(BindingCase((), (), system))]
    return [answer(question) for question in questions]


def answer(question: Callable[[], object]) -> object:
    try:
        return question()
    except (errors.Error, KeyError) as error:
        return repr(error)


@pytest.mark.parametrize("driver", installed.drivers(), ids=lambda d: d.name)
def test_a_driver_reads_what_it_declares(driver: Driver) -> None:
    for name, system in SYSTEMS.items():
        tree = system().tree()
        # Which image a kernel has is everybody's to know.
        images = Reads(images=installed.reads().images)
        own = installation(tree, driver.reads | images)
        assert answers(driver, own) == answers(
            driver, installation(tree, installed.reads())
        ), name


def test_shared_reads_are_declared() -> None:
    everything = installed.reads()
    assert everything | kernel_modules.READS == everything
