"""Guests of public reports: which of them libvirt's hook lets start."""

from __future__ import annotations

from gpu_passthrough_plugin.compute.hook import decision
from gpu_passthrough_plugin.compute.hook.decision import Rules
from gpu_passthrough_plugin.compute.hook.unit_states import (
    Guest,
    LedgerView,
)
from gpu_passthrough_plugin.discovery import modules
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.hook import HookMode
from tests.trees import reported, software
from tests.trees.host import Host
from tests.unit.flow.reported.answers import select

NONE = Policy(())
UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"


def refusal(
    host: Host, *places: str, managed: bool = True, policy: Policy = NONE
) -> str:
    """Why a guest with these functions may not start, without a ledger."""
    tree = host.tree()
    taken = {address.parse(place): managed for place in places}
    parts = host_snapshot.read_groups(tree, policy, taken)
    made = decision.decide(
        Guest(UUID, taken),
        {part.number: part.members for part in parts if part.number},
        LedgerView(()),
        Rules(
            HookMode.ANY,
            policy.is_excluded,
            lambda driver: modules.libvirt_keeps(tree, driver),
        ),
        host_snapshot.unspared(tree, parts),
    )
    return "; ".join(made.refusals)


def test_a_usb_controller_beside_the_hosts_wireless_card() -> None:
    """ra1nstorm/ra1nstorm-helper#131: the host lost its network."""
    host = reported.host(
        """
        00:14.0 0c03 8086:9ded group=5 driver=xhci_hcd
        00:14.2 0500 8086:9def group=5
        00:14.3 0280 8086:9df0 group=5 driver=iwlwifi
        """
    )
    path = "/devices/pci0000:00/0000:00:14.3"
    software.nic(host, path, "wlp0s20f3", 3)
    software.next_hops(host, "inet default dev wlp0s20f3")
    for places in (("00:14.0",), ("00:14.0", "00:14.3")):
        message = refusal(host, *places)
        for datum in ("0000:00:14.3", "default route (wlp0s20f3)", "group 5"):
            assert datum in message
        assert "vfio" not in message


def test_a_controller_of_the_hosts_own_disk() -> None:
    """autotest/virt-test#267: detached, it locks the host up."""
    host = reported.host("00:17.0 0106 8086:a282 group=6 driver=ahci")
    path = "/devices/pci0000:00/0000:00:17.0/ata1/host0/block"
    disk = software.disk(host, path, "sda", "8:0")
    software.disk(host, disk, "sda1", "8:1")
    software.mounts(host, {"/": ("8:1", "/dev/sda1", "ext4")})
    message = refusal(host, "00:17.0")
    for datum in ("0000:00:17.0", "mount / (/dev/sda1)"):
        assert datum in message
    # Of a disk that only a guest uses nothing is mounted.
    software.mounts(host, {})
    assert refusal(host, "00:17.0") == ""


def test_a_card_without_its_audio_function() -> None:
    """harvester/harvester#10499: group 0 is not viable."""
    host = reported.host(
        """
        07:00.0 0300 10de:2204 group=3 driver=vfio-pci
        07:00.1 0403 10de:1aef group=3 driver=snd_hda_intel
        """
    )
    message = refusal(host, "07:00.0")
    for datum in ("0000:07:00.1", "snd_hda_intel", "not viable"):
        assert datum in message
    assert refusal(host, "07:00.0", "07:00.1") == ""


def test_a_function_that_nobody_bound() -> None:
    """kubevirt/kubevirt#7371: must be manually detached from the host."""
    host = reported.host(
        """
        c3:00.0 0200 8086:159b group=90 driver=ice vfs=128/2
        c3:1b.1 0200 8086:1889 group=91 driver=iavf physical=c3:00.0
        """
    )
    message = refusal(host, "c3:1b.1", managed=False)
    for datum in ("0000:c3:1b.1", "iavf", "managed='yes'"):
        assert datum in message
    assert refusal(host, "c3:1b.1") == ""


def vgpu(number: int) -> Host:
    """kubevirt/kubevirt#17642: nvidia's own VFIO device on an L40S."""
    host = reported.host(
        """
        0d:00.0 0302 10de:26b9 group=20 driver=nvidia vfs=32/1
        0d:00.4 0302 10de:26b9 group=21 driver=nvidia physical=0d:00.0
        """
    )
    path = "/devices/pci0000:0d/0000:0d:00.4"
    attributes = {"current_vgpu_type": f"{number}\n"}
    host.device(f"{path}/nvidia", "nvidia", attributes)
    if number:
        host.device(f"{path}/vfio-dev/vfio4", "vfio-dev")
    return host


def test_a_vgpu_on_its_own_driver() -> None:
    assert refusal(vgpu(1155), "0d:00.4", managed=False) == ""
    message = refusal(vgpu(1155), "0d:00.4")
    for datum in ("0000:0d:00.4", "nvidia", "managed='no'"):
        assert datum in message
    message = refusal(vgpu(0), "0d:00.4", managed=False)
    assert "current_vgpu_type" in message
    assert "host enable" not in message


def test_the_card_that_shows_the_only_console() -> None:
    """joeknock90/Single-GPU-Passthrough#101: a host without another card.

    Selected or not, and until a VFIO driver has it.
    """
    rows = "03:00.0 0300 1002:73ff group=15 driver={} vga=1"
    host = reported.host(rows.format("amdgpu"), consoles=("tty0",))
    for policy in (NONE, select("1002:*")):
        message = refusal(host, "03:00.0", policy=policy)
        assert "0000:03:00.0 shows the host's only console" in message
    given = reported.host(rows.format("vfio-pci"), consoles=("tty0",))
    assert refusal(given, "03:00.0") == ""
    serial = reported.host(rows.format("amdgpu"))
    assert refusal(serial, "03:00.0") == ""
