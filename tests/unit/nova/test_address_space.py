"""Address bits by number of units, for flavors of several hosts."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.address_space import GIB, MIB
from gpu_passthrough_plugin.model.function import Bar, BarKind
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from gpu_passthrough_plugin.nova import address_space, control_plane
from gpu_passthrough_plugin.nova.address_space import (
    HostHardware,
    Need,
    Step,
    default_guest,
)
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.options import NovaOptions
from tests.unit.nova.fleet import accelerators, handed

INTEL = HostHardware({}, CpuVendor.INTEL, 46)
H100 = (
    Bar(16 * MIB, BarKind.LOW),
    Bar(128 * GIB, BarKind.HIGH),
    Bar(32 * MIB, BarKind.HIGH),
)
A10 = (Bar(16 * GIB, BarKind.HIGH), Bar(32 * MIB, BarKind.HIGH))
NEW = NovaOptions()


def need(hardware: HostHardware, *units: tuple[Bar, ...]) -> Need | None:
    guest = default_guest(hardware, 16384)
    return address_space.need(guest, [[unit] for unit in units])


def flavor(
    *hosts: ComputeHost, options: NovaOptions = NEW
) -> control_plane.Flavor:
    (only,) = control_plane.flavors(hosts, options)
    return only


def test_steps() -> None:
    found = need(INTEL, *[H100] * 8)
    assert found is not None
    assert found.steps == (Step(1, 41), Step(2, 42), Step(4, 43), Step(8, 44))
    assert (found.fewest, found.bits) == (1, 41)
    assert found.enough.endswith("43 for up to 4, 44 for up to 8")


def test_only_several_of_them_are_too_many() -> None:
    found = need(INTEL, *[A10] * 4)
    assert found is not None
    assert (found.fewest, found.bits) == (2, 41)
    assert need(INTEL, A10) is None
    # AMD's own 40 bits are trusted, and the window is larger.
    assert need(INTEL._replace(cpu_vendor=CpuVendor.AMD), *[A10] * 4) is None


def test_a_host_with_too_few_bits() -> None:
    found = need(INTEL._replace(address_bits=40), H100)
    assert found is not None
    assert found.bits is None
    assert found.enough == ""


def test_few_bits_that_the_firmware_trusts_are_enough() -> None:
    """A desktop of 39 bits with a resized BAR of 32 GiB."""
    card = (Bar(32 * GIB, BarKind.HIGH), Bar(64 * MIB, BarKind.HIGH))
    found = need(INTEL._replace(address_bits=39), card)
    assert found is not None and found.bits == 39


def test_the_largest_units_count_first() -> None:
    small = (Bar(1 * GIB, BarKind.HIGH),)
    found = need(INTEL, small, H100)
    assert found is not None and found.fewest == 1


def test_what_a_host_can_give_its_guests() -> None:
    units = [[H100]]
    assert isinstance(address_space.need_on(INTEL, units, 16384), Need)
    # libvirt refuses address bits there.
    arm = INTEL._replace(cpu_vendor=CpuVendor.ARM)
    assert address_space.need_on(arm, units, 16384) is None
    unread = INTEL._replace(address_bits=MISSING)
    assert address_space.need_on(unread, units, 16384) is MISSING
    assert address_space.need_on(unread, [[A10]], 16384) is None


def test_the_host_that_needs_most_decides() -> None:
    one, four = need(INTEL, H100), need(INTEL, *[H100] * 4)
    few = need(INTEL._replace(address_bits=40), H100)
    assert address_space.worst([None, one, four, few]) == four
    assert address_space.worst([None, few]) == few
    assert address_space.worst([None]) is None


def test_flavors_of_hosts() -> None:
    large, small = handed(accelerators(2)), handed(accelerators(2, 1))
    assert flavor(large).address_bits == 41
    assert flavor(small).need is None
    words = control_plane.flavor_command(flavor(large), NEW)
    assert "hw:maxphysaddr_mode=emulate" in words
    assert "hw:maxphysaddr_bits=41" in words
    old = NovaOptions(Release(27))
    assert not any(
        "maxphysaddr" in word
        for word in control_plane.flavor_command(flavor(large), old)
    )
    ledger = dataclasses.replace(large, hardware=None)
    assert flavor(ledger).need is MISSING
    # One host is known to lack something, the other is not known.
    assert isinstance(flavor(ledger, large).need, Need)
    assert isinstance(flavor(ledger, small).need, Unknown)
