"""Drivers by entry point, from installed metadata as pip writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import stevedore.extension

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import kernel_modules, load
from gpu_passthrough_plugin.enablement.binding.address import AddressBinding
from gpu_passthrough_plugin.enablement.initramfs.dracut import Dracut
from gpu_passthrough_plugin.enablement.initramfs.mkinitcpio import Mkinitcpio
from tests.trees.debian import debian12
from tests.trees.installed import installation
from tests.trees.redhat import rhel9
from tests.unit.enablement import values
from tests.unit.isolation.values import HEALTHY

_ROOM = "gpu_passthrough_plugin.enablement"
# Drivers of third parties, in addition to those of the project.
ENTRY_POINTS = f"""
[gpu_passthrough_plugin.bootloader]
first = enablement_of_others:First
second = enablement_of_others:Second

[gpu_passthrough_plugin.binding]
mine = {_ROOM}.binding.address:AddressBinding
gone = no_such_module:Driver
worse = worse_module:Driver
wrong = pathlib:Path
other = {_ROOM}.initramfs.dracut:Dracut
needy = enablement_of_others:Needy

[gpu_passthrough_plugin.initramfs]
a_dracut = {_ROOM}.initramfs.dracut:Dracut
b_mkinitcpio = {_ROOM}.initramfs.mkinitcpio:Mkinitcpio

[gpu_passthrough_plugin.iommu]
some = enablement_of_others:Some
"""
MODULE = """
from gpu_passthrough_plugin.enablement.driver import (
    BindingDriver, BootloaderDriver, ConfiguredArguments, IommuDriver,
)


class First(BootloaderDriver):
    name = "first"
    precedence = -10

    def claims(self, installation):
        return "first of all" if "dracut" in installation.tools else None

    def configured(self, installation):
        return ConfiguredArguments({}, {})

    def plan(self, installation, requirements):
        raise NotImplementedError


class Second(First):
    name = "second"
    precedence = -20

    def claims(self, installation):
        has_tool = "mkinitramfs" in installation.tools
        return "second to none" if has_tool else None


class Needy(BindingDriver):
    name = "needy"

    def __init__(self, what):
        raise NotImplementedError

    def plan(self, case):
        raise NotImplementedError


class Some(IommuDriver):
    name = "some"

    def claims(self, facts):
        return f"{len(facts.iommus)} are there" if facts.iommus else None

    def requirements(self, *, passthrough):
        raise NotImplementedError
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with drivers that work and some that do not."""
    folder = tmp_path / "third_party-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: third-party\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "worse_module.py").write_text("nonsense\n")
    (tmp_path / "enablement_of_others.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    manager = stevedore.extension.ExtensionManager
    monkeypatch.setattr(manager, "ENTRY_POINT_CACHE", {})
    # It would keep what it found in the home folder.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_binding_by_name() -> None:
    assert isinstance(load.binding("mine"), AddressBinding)


@pytest.mark.parametrize(
    ("name", "shown", "cause"),
    [
        ("none", "none", ""),
        ("gone", "gone", "No module named"),
        ("worse", "worse", "name 'nonsense' is not"),
        ("needy", "needy", "Needy"),
        ("wrong", "wrong", "<class 'pathlib"),
        ("other", "dracut", ""),
    ],
)
def test_an_entry_point_without_a_driver_is_named(
    name: str, shown: str, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(errors.Invalid) as caught:
        load.binding(name)
    message = str(caught.value)
    assert message.startswith(f"[enablement] binding '{shown}' ")
    assert cause in message
    # With all that could be named instead.
    assert "gone, " in message
    assert "mine, needy, other" in message
    assert caplog.records == []


def test_a_driver_that_is_named_need_not_claim_the_host() -> None:
    driver, why = load.initramfs(values.installed(), "b_mkinitcpio")
    assert isinstance(driver, Mkinitcpio)
    assert why == "[enablement] initramfs = b_mkinitcpio"


def test_a_driver_that_is_named_says_why_it_fits() -> None:
    system = installation(rhel9().tree())
    driver, why = load.initramfs(system, "a_dracut")
    assert isinstance(driver, Dracut)
    assert why == "/usr/bin/dracut is installed"


@pytest.mark.parametrize("name", [None, "auto"])
def test_the_first_that_claims_the_host(name: str | None) -> None:
    driver, why = load.bootloader(installation(rhel9().tree()), name)
    assert (driver.name, why) == ("first", "first of all")
    driver, why = load.bootloader(installation(debian12().tree()), name)
    assert (driver.name, why) == ("second", "second to none")


def test_the_iommu_is_found_by_facts() -> None:
    driver, why = load.iommu(HEALTHY, "some")
    assert (driver.name, why) == ("some", "1 are there")


def test_a_host_that_no_driver_claims_is_refused() -> None:
    with pytest.raises(errors.Refused) as caught:
        load.initramfs(values.installed())
    for name in ("dracut", "mkinitcpio", "[enablement] initramfs"):
        assert name in str(caught.value)


def test_drivers_of_every_kind_with_a_reason_each() -> None:
    names = load.DriverNames("mine", "some", "first", "a_dracut")
    drivers, reasons = load.drivers(
        names, HEALTHY, installation(rhel9().tree())
    )
    assert drivers.names == {
        "iommu": "some",
        "bootloader": "first",
        "initramfs": "dracut",
    }
    assert isinstance(drivers.binding, AddressBinding)
    assert [reason.partition(":")[0] for reason in reasons] == [
        "some",
        "first",
        "dracut",
    ]


def test_a_driver_that_does_not_load_reads_nothing() -> None:
    reads, faults = load.declared_reads()
    # The drivers that load are in it, whatever the others do.
    assert reads | Dracut.reads | Mkinitcpio.reads == reads
    assert reads | kernel_modules.READS == reads
    named = {str(fault).split()[2] for fault in faults}
    assert {"'gone'", "'worse'", "'wrong'", "'needy'"} <= named
    assert "'mine'" not in named
