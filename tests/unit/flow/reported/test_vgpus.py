"""Hosts of public reports on which guests use virtual functions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.model import address as addresses
from gpu_passthrough_plugin.model.change_history import Enablement, Target
from tests.trees import reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import (
    groups,
    planned,
    told,
    verdict,
    verified,
)

UUID = "4b20d080-1b54-4048-85b3-a6a62d165c01"


def _types(**types: int) -> dict[str, str]:
    """Files of NVIDIA's vendor-specific vGPUs, by bus and function."""
    return {
        f"sys/devices/pci0000:{name[1:3]}/0000:{name[1:3]}:00.{name[3]}"
        "/nvidia/current_vgpu_type": f"{number}\n"
        for name, number in types.items()
    }


def vendor_specific() -> Host:
    """NVIDIA/gpu-operator#2594, kubevirt/kubevirt#17642: H200 without mdev.

    The virtual functions stay on nvidia, and one has a guest.
    """
    host = reported.host(
        """
        17:00.0 0302 10de:2335 group=300 driver=nvidia vfs=16/2
        17:00.4 0302 10de:2335 group=310 driver=nvidia physical=17:00.0
        17:00.5 0302 10de:2335 group=311 driver=nvidia physical=17:00.0
        """,
        files=_types(p174=1120, p175=0),
    )
    host.device("/devices/pci0000:17/0000:17:00.4/vfio-dev/vfio7", "vfio-dev")
    return reported.debian(host)


def mediated() -> Host:
    """apache/cloudstack#11432, xapi-project/xenopsd#689: A10 with mdev."""
    host = reported.host(
        """
        41:00.0 0302 10de:2236 group=200 driver=nvidia vfs=32/2
        41:00.4 0302 10de:2236 group=201 driver=nvidia physical=41:00.0
        41:00.5 0302 10de:2236 group=202 driver=nvidia physical=41:00.0
        """
    )
    for place in ("41:00.4", "41:00.5"):
        path = f"sys/devices/pci0000:41/0000:{place}"
        host.folder(f"{path}/mdev_supported_types/nvidia-594")
    host.device(f"/devices/pci0000:41/0000:41:00.5/{UUID}", "mdev")
    return reported.debian(host)


def managed_no() -> Host:
    """OpenNebula/one#6841: a domain has the vGPU of 41:00.5."""
    host = reported.host(
        """
        41:00.0 0302 10de:26b9 group=200 driver=nvidia vfs=32/1
        41:00.5 0302 10de:26b9 group=202 driver=nvidia physical=41:00.0
        """,
        files=_types(p415=555),
    )
    host.device("/devices/pci0000:41/0000:41:00.5/vfio-dev/vfio2", "vfio-dev")
    return reported.debian(host)


def stale_type() -> Host:
    """kernel/hypeman#364: a guest crashed, and its vGPU's type stays."""
    host = reported.host(
        """
        a1:00.0 0302 10de:26b9 group=400 driver=nvidia vfs=32/1
        a1:00.6 0302 10de:26b9 group=412 driver=nvidia physical=a1:00.0
        """,
        files=_types(pa16=1121),
    )
    return reported.debian(host)


@pytest.mark.parametrize(
    "host, physical, virtual, remedy",
    [
        (vendor_specific, "17:00.0", "17:00.4", "17:00.4/nvidia/current_vgpu"),
        (mediated, "41:00.0", "41:00.5", f"/sys/bus/mdev/devices/{UUID}"),
        (managed_no, "41:00.0", "41:00.5", "41:00.5/nvidia/current_vgpu_type"),
        (stale_type, "a1:00.0", "a1:00.6", "a1:00.6/nvidia/current_vgpu_type"),
    ],
)
def test_a_vgpu_is_in_use_and_so_is_what_carries_it(
    host: Callable[[], Host], physical: str, virtual: str, remedy: str
) -> None:
    tree = host()
    carrier, vgpu = verdict(tree, physical), verdict(tree, virtual)
    assert carrier.startswith("blocked\nin-use: ")
    assert virtual in carrier and "sriov_numvfs" in carrier
    assert vgpu.startswith("blocked\nin-use: ")
    assert "stop its guest" in vgpu and remedy in vgpu
    for answer in (carrier, vgpu, planned(tree)):
        assert "driver_override" not in answer
        assert "not on vfio-pci" not in answer
    assert planned(tree).startswith("refused: ")


def test_a_place_for_a_vgpu_is_not_a_card() -> None:
    answer = verdict(vendor_specific(), "17:00.5")
    assert answer.startswith("blocked\nin-use: 0000:17:00.5 is a place")
    assert "managed: no" in answer


def test_an_unreadable_type_may_be_a_running_vgpu() -> None:
    host = reported.host(
        "a1:00.6 0302 10de:26b9 group=412 driver=nvidia physical=a1:00.0",
        files={
            "sys/devices/pci0000:a1/0000:a1:00.6/nvidia/current_vgpu_type": "?"
        },
    )
    answer = verdict(host, "a1:00.6")
    assert answer.startswith("blocked\nin-use: 0000:a1:00.6 may carry")
    assert "unknown" in answer


def test_a_type_without_a_known_user_is_no_running_guest() -> None:
    answer = verdict(stale_type(), "a1:00.6")
    assert "may use" in answer and "open" in answer
    assert "running" not in answer


def seven_in_use() -> Host:
    """MacRimi/ProxMenux#179: all virtual functions of an iGPU for guests."""
    rows = ["00:02.0 0300 8086:46a6 group=0 driver=i915 vga=1 vfs=7/7"]
    rows += [
        f"00:02.{n} 0300 8086:46a6 group={n + 20} driver=vfio-pci"
        " physical=00:02.0"
        for n in range(1, 8)
    ]
    return reported.debian(reported.host("\n".join(rows)))


def hook_took_it() -> Host:
    """MacRimi/ProxMenux#179: a hook bound the physical function, too."""
    row = "00:02.0 0300 8086:46a6 group=0 driver=vfio-pci vga=1 vfs=7/0"
    return reported.debian(reported.host(row))


def test_the_physical_function_of_used_ones_stays() -> None:
    tree = seven_in_use()
    answer = verdict(tree, "00:02.0")
    assert answer.startswith("blocked\nin-use: ")
    assert "0000:00:02.1 (on vfio-pci)" in answer
    for number in range(1, 8):
        assert verdict(tree, f"00:02.{number}") == "assignable"


def test_what_its_physical_function_lost_is_not_unplugged() -> None:
    target = Target(
        addresses.parse("0000:00:02.1"), 0x8086, 0x46A6, 0x030000, True
    )
    enablement = Enablement((target,), "address", (), "", {})
    row = verified(hook_took_it(), enabled=enablement)["00:02.1"]
    answer = told(row)
    assert "leave 0000:00:02.0 to its own driver" in answer
    assert "on vfio-pci" in answer and "sriov_numvfs" in answer
    assert "seated" not in answer


def without_drivers() -> Host:
    """canonical/lxd#18291: two virtual functions that nothing has yet."""
    host = reported.host(
        """
        00:02.0 0300 8086:b080 group=0 driver=xe vga=1 vfs=7/2
        00:02.1 0300 8086:b080 group=21 physical=00:02.0
        00:02.2 0300 8086:b080 group=22 physical=00:02.0
        """
    )
    return reported.debian(host)


def test_virtual_functions_go_without_their_physical_one() -> None:
    tree = without_drivers()
    answer = verdict(tree, "00:02.0")
    assert answer.startswith("blocked\nsriov-enabled: ")
    assert answer.index("stop the guests") < answer.index("write 0")
    for place in ("00:02.1", "00:02.2"):
        # Not a word of the physical one: it is no part of the same card.
        assert verdict(tree, place) == "assignable"
    assert set(groups(tree)) == {"00:02.0", "00:02.1", "00:02.2"}
