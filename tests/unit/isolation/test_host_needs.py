"""What the host cannot spare, whatever a ledger has."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.isolation import host_needs
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import (
    Function,
    PhysicalFunction,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.host_facts import HostFacts, HostUse
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.unit.isolation.values import (
    Fields,
    detail,
    facts,
    function,
    gpu,
)

LOST = Unknown(Why.UNREADABLE, "Permission denied")
NIC = address.parse("01:00.0")
ROUTE = HostUse(NIC, "default route (eno1)", ("eno1",))


def nic(driver: str | None = "igb") -> Function:
    return function("01:00.0", "8086:1521", 0x020000, driver=driver)


def unspared(
    of: Function,
    known: HostFacts,
    *,
    role: Role = Role.COMPANION,
    is_down: bool = False,
    **fields: Fields,
) -> str:
    """Why the host cannot spare a function; "" where it can."""
    member = Member(of, role, detail(of, **fields))
    down = frozenset({of.address} if is_down else ())
    reasons = host_needs.unspared((member,), known, down)
    assert reasons.keys() <= {of.address}
    return reasons.get(of.address, "")


def test_what_the_host_uses_is_said_with_the_use() -> None:
    known = facts(uses=(ROUTE,))
    message = unspared(nic(), known)
    for datum in ("0000:01:00.0", "default route (eno1)"):
        assert datum in message
    assert not unspared(gpu(), known)
    assert not unspared(nic(), known, role=Role.BYSTANDER)
    # Its virtual functions may carry it, whatever driver it is on.
    assert unspared(nic("vfio-pci"), known)


@pytest.mark.parametrize("driver", ["igb", None, "pci-stub", "vfio-pci"])
def test_an_unknown_use_is_one_of_a_driver_of_the_hosts(
    driver: str | None,
) -> None:
    message = unspared(nic(driver), facts(uses=LOST))
    assert (str(LOST) in message) == (driver == "igb")


def test_what_carries_nothing_is_spared_though_the_uses_are_unknown() -> None:
    unknown = facts(uses=LOST)
    assert not unspared(gpu(driver="nouveau"), unknown)
    assert not unspared(nic(), unknown, is_down=True)


@pytest.mark.parametrize("role", [LOST, MISSING, PhysicalFunction(8, 2)])
def test_a_physical_function_carries_what_its_virtual_ones_do(
    role: PhysicalFunction | Unknown,
) -> None:
    unknown = facts(uses=LOST)
    for driver in ("vfio-pci", None):
        assert unspared(nic(driver), unknown, sriov=role, is_down=True)
    none_enabled = PhysicalFunction(8, 0)
    assert not unspared(nic("vfio-pci"), unknown, sriov=none_enabled)


@pytest.mark.parametrize("driver", ["nouveau", None, "vfio-pci"])
def test_the_only_console_is_kept_until_vfio_has_it(
    driver: str | None,
) -> None:
    known = facts(consoles=("tty0",))
    message = unspared(gpu(driver=driver), known, boot_vga=True)
    assert ("console" in message) == (driver != "vfio-pci")
    assert not unspared(gpu(driver=driver), facts(), boot_vga=True)


def test_a_remote_console_is_kept() -> None:
    bmc = function("0a:00.0", "1a03:2000", 0x030000, driver="ast")
    assert "BMC" in unspared(bmc, facts())
    given = bmc._replace(driver="vfio-pci")
    assert not unspared(given, facts())


def test_a_route_of_its_own_keeps_no_virtual_function() -> None:
    """One that waits for a guest gets an address from any DHCP client."""
    lease = facts(uses=(HostUse(NIC, "route (eno1v0)", ("eno1v0",), True),))
    virtual = VirtualFunction(address.parse("00:01.0"))
    assert not unspared(nic(), lease, sriov=virtual)
    assert unspared(nic(), facts(uses=(ROUTE,)), sriov=virtual)
    assert unspared(nic(), lease)
