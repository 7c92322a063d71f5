"""Hosts of public reports whose accelerators are no displays."""

from __future__ import annotations

from gpu_passthrough_plugin.model.finding import Status
from tests.trees import reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import (
    checked,
    groups,
    told,
    verdict,
    verified,
)

BMC = "03:00.0 0300 1a03:2000 group=3 driver=ast vga=1\n"
LOST = "vfio-pci 0000:0c:00.0: not ready 65535ms after FLR; giving up"


def gaudi2e() -> Host:
    """jaypipes/ghw#383: eight Gaudi2E, of class 12."""
    places = ("29", "2a", "3a", "3b", "aa", "ab", "ba", "bb")
    rows = [
        f"{bus}:00.0 1200 1da3:1021 group={n} driver=habanalabs reset=flr\n"
        for n, bus in enumerate(places, 20)
    ]
    return reported.host(BMC + "".join(rows))


def test_accelerators_are_the_goods() -> None:
    found = checked(gaudi2e())["assignable"]
    assert found.status is Status.PASS
    assert found.detail.startswith("8 of 9 groups")
    assert len(verified(gaudi2e())) == 8


def on_gim() -> Host:
    """amd/MxGPU-Virtualization#13, #21: MI300X on gim, one VF of each."""
    rows = [
        f"{bus}:00.0 1200 1002:74a1 group={n} driver=gim vfs=8/1\n"
        f"{bus}:02.0 1200 1002:74b5 group={n + 40} driver=vfio-pci"
        f" physical={bus}:00.0 reset=flr\n"
        for n, bus in enumerate(("05", "26", "46", "65"), 10)
    ]
    return reported.host(BMC + "".join(rows), cpu="amd")


def test_guests_get_virtual_functions_and_never_their_physical_one() -> None:
    for bus in ("05", "26", "46", "65"):
        assert verdict(on_gim(), f"{bus}:02.0") == "assignable"
        answer = verdict(on_gim(), f"{bus}:00.0")
        assert answer.startswith("blocked\nin-use: ")
        assert f"0000:{bus}:02.0" in answer
    rows = verified(on_gim())
    assert all(row.status is Status.PASS for row in rows.values())
    assert set(rows) == {f"{bus}:02.0" for bus in ("05", "26", "46", "65")}


def mi355x(state: str = "") -> Host:
    """amd/MxGPU-Virtualization#25: dead after its guest, until a reboot."""
    row = "0c:00.0 1200 1002:75a3 group=12 driver=vfio-pci reset=flr,bus"
    return reported.host(f"{BMC}{row} {state}", cpu="amd")


def test_what_a_reset_kills_is_said_before_and_after() -> None:
    before = verdict(mi355x(), "0c:00.0")
    assert "dead until the host reboots" in before
    after = verdict(mi355x("dead"), "0c:00.0")
    assert after.startswith("blocked\ndead: 0000:0c:00.0")
    row = verified(mi355x("dead"), log=[LOST])["0c:00.0"]
    assert row.status is Status.FAIL
    answer = told(row)
    assert "power-cycle the host" in answer and "one guest a boot" in answer
    assert "vendor-reset" not in answer and "rescan" not in answer


def mi210() -> Host:
    """jaypipes/ghw#383: MI210 is a display (0380) without boot_vga."""
    rows = [
        f"{bus}:00.0 0380 1002:740f group={n} driver=amdgpu reset=flr\n"
        for n, bus in enumerate(("23", "43"), 10)
    ]
    return reported.host(BMC + "".join(rows), cpu="amd", consoles=("tty0",))


def test_a_display_without_outputs_is_no_console() -> None:
    for place in ("23:00.0", "43:00.0"):
        assert verdict(mi210(), place) == "assignable"


def spyre() -> Host:
    """IBM Spyre, an accelerator in domain 0483 of a POWER machine.

    Known from the parser of one of IBM's tools.
    """
    row = "0483:70:00.0 1200 1014:06a7 group=5 driver=vfio-pci"
    return reported.host(row, cpu="power", iommu=False)


def test_power_has_an_iommu_without_an_entry() -> None:
    assert set(groups(spyre())) == {"0483:70:00.0"}
    findings = checked(spyre())
    for finding in findings.values():
        assert finding.status is Status.PASS
        assert "intel" not in f"{finding.detail}{finding.remedy}".lower()
    assert verified(spyre())["0483:70:00.0"].status is Status.PASS


def laptop() -> Host:
    """A Meteor Lake laptop with the processor's own NPU, of class 12."""
    return reported.host(
        """
        00:02.0 0300 8086:7d55 group=0 driver=i915 vga=1
        00:0b.0 1200 8086:7d1d group=9 driver=intel_vpu
        """,
        consoles=("tty0",),
    )


def test_the_processors_own_is_named_and_not_taken() -> None:
    assert "0000:00:0b.0" in checked(laptop())["assignable"].detail
    assert "no-primary" in verdict(laptop(), "00:0b.0")
    assert "only-console" in verdict(laptop(), "00:02.0")


def of_other_makers() -> Host:
    """Baseband and RISC-V accelerators, known from DPDK's guide by ids."""
    return reported.host(
        """
        0a:00.0 1200 177d:ef01 group=20 driver=octeon vfs=2/1
        0a:00.2 1200 177d:ef02 group=21 driver=vfio-pci physical=0a:00.0
        41:00.0 1200 1e0a:eb01 group=22 driver=et-soc1
        """
    )


def test_an_unknown_maker_shows_as_well() -> None:
    host = of_other_makers()
    assert verdict(host, "0a:00.2") == "assignable"
    assert verdict(host, "41:00.0") == "assignable"
    assert verdict(host, "0a:00.0").startswith("blocked\nin-use: ")
    assert checked(host)["assignable"].detail.startswith("2 of 3 groups")
