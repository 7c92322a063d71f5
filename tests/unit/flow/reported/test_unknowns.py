"""Hosts of public reports of which a part cannot be known."""

from __future__ import annotations

import pytest

from tests.trees import config, reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import checked, groups, verdict


def strix_point(*, has_boot_display: bool = False, panel: str = "") -> Host:
    """canonical/ubuntu-drivers-common#124, canonical/nvidia-prime#28.

    The panel is on a display without boot_vga; from Linux 6.17 on that has
    boot_display.
    """
    below = "/devices/pci0000:c3/0000:c3:00.0"
    mark = {f"sys{below}/boot_display": "1\n"} if has_boot_display else {}
    host = reported.host(
        """
        01:00.0 0300 10de:2d39 group=15 driver=nvidia vga=0
        c3:00.0 0380 1002:150e group=20 driver=amdgpu
        """,
        cpu="amd",
        consoles=("tty0",),
        files=mark,
    )
    host.device(f"{below}/drm/card1", "drm")
    if panel:
        path = f"{below}/drm/card1/card1-eDP-1"
        host.device(path, "drm", {"status": f"{panel}\n"})
    return host


def test_a_panel_shows_the_console_without_a_mark() -> None:
    for host in (
        strix_point(has_boot_display=True),
        strix_point(panel="connected"),
    ):
        answer = verdict(host, "c3:00.0")
        assert answer.startswith("blocked\nonly-console: 0000:c3:00.0")
        assert verdict(host, "01:00.0") == "assignable"
    for panel in ("", "disconnected"):
        host = strix_point(panel=panel)
        assert verdict(host, "c3:00.0") == "assignable"


def test_a_monitor_of_a_second_card_is_no_console() -> None:
    """A laptop whose external output is wired to the card for guests."""
    host = reported.host(
        """
        00:02.0 0300 8086:46a6 group=1 driver=i915 vga=1
        01:00.0 0302 10de:25e2 group=15 driver=nvidia
        """,
        consoles=("tty0",),
    )
    for card, place in (("card0", "00:02.0"), ("card1", "01:00.0")):
        below = f"/devices/pci0000:{place[:2]}/0000:{place}/drm/{card}"
        host.device(below, "drm")
        host.device(f"{below}/{card}-HDMI-A-1", "drm",
                    {"status": "connected\n"})  # fmt: skip
    assert verdict(host, "01:00.0") == "assignable"
    assert verdict(host, "00:02.0").startswith("blocked\nonly-console")


def listed_only() -> Host:
    """jaypipes/ghw#463: four cards by vendor, device, class and modalias."""
    host = reported.host("")
    alias = "pci:v000010DEd000015F8sv000010DEsd0000118Fbc03sc02i00\n"
    for bus in ("06", "07", "08", "09"):
        folder = f"sys/bus/pci/devices/0000:{bus}:00.0"
        host.file(f"{folder}/vendor", "0x10de\n")
        host.file(f"{folder}/device", "0x15f8\n")
        host.file(f"{folder}/class", "0x030200\n")
        host.file(f"{folder}/modalias", alias)
    return host


def test_what_a_snapshot_lacks_is_unknown() -> None:
    host = listed_only()
    assert len(groups(host)) == 4
    for place in groups(host):
        answer = verdict(host, place)
        assert f"the IOMMU group of 0000:{place} is unknown" in answer
        assert "only console" not in answer
        assert "intel_iommu" not in answer
    assert checked(host)["iommu"].detail == "active: dmar0"


def short_config() -> Host:
    """nestybox/sysbox#726: 64 bytes of config space in a container.

    The card is below a switch, whose ACS is beyond them.
    """
    host = Host(reported.RELEASE)
    above = None
    for group, (address, ids, below) in enumerate(
        (
            ("0000:40:01.0", "8086:347a", "0000:41"),
            ("0000:41:00.0", "10b5:8747", "0000:42"),
            ("0000:42:08.0", "10b5:8747", "0000:43"),
            ("0000:43:00.0", "10de:27b8", None),
        )
    ):
        code = "060400" if below else "030200"
        space = bytearray(config.space(ids, code, 0, bool(below), "0000:0000"))
        space[0x34] = 0x60
        host.function(
            address, ids, code, under=above, group=group, below=below,
            more={"config": bytes(space[:64])},
        )  # fmt: skip
        above = address
    return host


def test_a_short_config_space_proves_no_lack() -> None:
    answer = verdict(short_config(), "43:00.0")
    assert "0000:42:08.0" in answer and "unknown" in answer
    assert "no ACS" not in answer and "without ACS" not in answer


def behind_vmd() -> Host:
    """hertg/egpu-switcher#91: a domain of five digits has the disk."""
    return reported.host(
        """
        0000:00:02.0 0300 8086:9a49 group=0 driver=i915 vga=1
        10000:e1:00.0 0108 8086:f1aa group=9 driver=nvme root_bus=10000:e0
        """
    )


def other_root_bus() -> Host:
    """Xilinx/open-nic#5: a card below the root bus 3a."""
    return reported.host(
        """
        3a:00.0 0604 8086:347a group=5 below=3b
        3b:00.0 1200 10ee:903f group=30 driver=onic under=3a:00.0
        """
    )


@pytest.mark.parametrize(
    "host, place",
    [(behind_vmd(), "10000:e1:00.0"), (other_root_bus(), "3b:00.0")],
)
def test_an_address_may_be_of_any_domain_and_root_bus(
    host: Host, place: str
) -> None:
    assert place in groups(host)
    assert "unknown" not in verdict(host, place)
