"""Hosts are enabled, restarted, verified, and taken back to what they were."""

from __future__ import annotations

import uuid

import pytest

from tests.functional.lab import enabling, product
from tests.functional.lab.enabling import (
    OFF,
    actions,
    asked,
    differences,
    files,
    is_forgotten,
    log,
    run,
    words,
)
from tests.functional.lab.host import (
    WITH_IOMMU,
    WITHOUT_IOMMU,
    Boot,
    EmulatedHost,
)
from tests.functional.lab.image import Image
from tests.functional.lab.topology import AMD, BARE, SEED
from tests.functional.test_lab import displays, driver, groups

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

VFIO = "vfio-pci"
AUDIO = "snd_hda_intel"
FIRST, SECOND, THIRD = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"


def card(display: str) -> tuple[str, str]:
    """Both functions of a card, by the address of its display."""
    return display, f"{display[:-1]}1"


def drivers(host: EmulatedHost, *displays: str) -> list[str]:
    return [driver(host, f) for display in displays for f in card(display)]


def verified(host: EmulatedHost, *displays: str) -> None:
    """Nothing, when ``host verify`` passes for exactly these cards."""
    rows = asked(host, "host", "verify")
    assert [row["Address"] for row in rows] == [
        function for display in displays for function in card(display)
    ]
    assert {row["Status"] for row in rows} == {"pass"}
    assert {row["Found"] for row in rows} == {VFIO}
    assert set(drivers(host, *displays)) == {VFIO}


def check(host: EmulatedHost, name: str, wanted: int) -> dict[str, str]:
    """The row of one check."""
    rows = asked(host, "host", "check", wanted=wanted)
    found: dict[str, str] = next(row for row in rows if row["Check"] == name)
    return found


def taken_back(
    host: EmulatedHost, before: dict[str, str], told: list[str]
) -> None:
    """Nothing, when disabling leaves the host as it was, files and boot."""
    run(host, "host", "disable")
    assert differences(before, files(host)) == []
    assert is_forgotten(host)
    host.reboot()
    assert words(host) == told
    assert differences(before, files(host)) == []


def test_from_off_to_a_guest_and_back(
    boot: Boot, project_archive: bytes
) -> None:
    """Two of three identical cards; the third stays with the host."""
    host = boot(SEED, WITHOUT_IOMMU)
    enabling.prepare(host, project_archive, OFF)
    assert displays(host) == [FIRST, SECOND, THIRD]
    host.reboot()
    before, told = files(host), words(host)
    assert OFF in told
    assert groups(host) == {}
    assert OFF in check(host, "groups", wanted=1)["Detail"]

    select = ("--select", FIRST, "--select", SECOND)
    shown = asked(host, "host", "enable", "--dry-run", *select)
    assert differences(before, files(host)) == []
    made = asked(host, "host", "enable", *select)
    assert made == shown
    assert {"create", "change", "run"} <= actions(made)
    assert actions(asked(host, "host", "enable", *select)) == {"keep"}
    assert check(host, "reboot", wanted=1)["Status"] == "fail"
    assert drivers(host, FIRST) == ["", AUDIO]

    host.reboot()
    assert "intel_iommu=on" in words(host)
    assert OFF not in words(host)
    verified(host, FIRST, SECOND)
    assert drivers(host, THIRD) == ["", AUDIO]
    _vfio_came_first(host)
    assert check(host, "reboot", wanted=1)["Status"] == "pass"
    assert actions(asked(host, "host", "enable", *select)) == {"keep"}
    _a_guest_holds_one(host)
    taken_back(host, before, told)
    assert drivers(host, FIRST, SECOND, THIRD) == ["", AUDIO] * 3


def _vfio_came_first(host: EmulatedHost) -> None:
    """Nothing, when no other driver has seen the two cards."""
    lines = log(host)
    taken = [card(FIRST), card(SECOND)]
    for function in (f for both in taken for f in both):
        assert f"gpu-passthrough: {function} is on vfio-pci" in lines
    others = [line for line in lines if line.startswith(f"{AUDIO} ")]
    assert others
    assert all(line.startswith(f"{AUDIO} {THIRD[:-1]}1") for line in others)


def _a_guest_holds_one(host: EmulatedHost) -> None:
    """Nothing, when a guest boots that itself sees both functions."""
    host.put(
        product.CONFIG,
        b"[libvirt]\nstop_timeout_s = 1\n[pci]\n"
        b'alias = {"name": "gpu", "vendor_id": "1002", "product_id": "5046"}\n'
        b"[discovery]\nselect = 0000:01:00.0, 0000:02:00.0\n",
    )
    run(host, "db", "sync")
    with product.running(host) as ours:
        ours.cli("inventory", "sync")
        identity = str(uuid.uuid4())
        path = ours.domain("enabled", identity)
        ours.cli("instance", "boot", path, "--request", "gpu:1")
        assert set(product.CARD) <= set(ours.seen("enabled"))
        ours.cli("instance", "release", identity)


@pytest.mark.rotating
def test_all_three_by_their_ids(boot: Boot, project_archive: bytes) -> None:
    """The seed's own way; refused where it would take a card too many."""
    host = boot(SEED, WITHOUT_IOMMU)
    enabling.prepare(host, project_archive, OFF)
    host.reboot()
    before, told = files(host), words(host)
    by_ids = ("host", "enable", "--binding", "ids")
    refused = run(host, *by_ids, "--select", FIRST, wanted=1)
    assert f"also match {SECOND}, {THIRD}," in refused
    assert differences(before, files(host)) == []
    run(host, *by_ids)
    options = host.get("/etc/modprobe.d/gpu-passthrough.conf").decode()
    assert "options vfio-pci ids=1002:5046,8086:2668\n" in options
    host.reboot()
    verified(host, FIRST, SECOND, THIRD)
    assert not any(line.startswith(f"{AUDIO} ") for line in log(host))
    taken_back(host, before, told)


@pytest.mark.rotating
def test_with_dracut(
    boot: Boot, project_archive: bytes, dracut_image: Image
) -> None:
    host = boot(SEED, WITHOUT_IOMMU, dracut_image)
    enabling.prepare(host, project_archive, OFF)
    host.reboot()
    before, told = files(host), words(host)
    select = ("--select", FIRST, "--select", SECOND)
    run(host, "host", "enable", *select)
    assert actions(asked(host, "host", "enable", *select)) == {"keep"}
    host.reboot()
    assert "rd.driver.pre=vfio-pci" in words(host)
    verified(host, FIRST, SECOND)
    assert drivers(host, THIRD) == ["", AUDIO]
    _vfio_came_first(host)
    taken_back(host, before, told)


@pytest.mark.rotating
def test_with_the_other_makers_iommu(
    boot: Boot, project_archive: bytes
) -> None:
    """It is on without any argument: only the binding is to be made."""
    host = boot(AMD, WITH_IOMMU)
    enabling.prepare(host, project_archive, "")
    host.reboot()
    before, told = files(host), words(host)
    assert groups(host)
    run(host, "host", "enable", "--select", SECOND)
    host.reboot()
    assert words(host) == told
    verified(host, SECOND)
    assert drivers(host, FIRST, THIRD) == ["", AUDIO] * 2
    taken_back(host, before, told)


def test_a_host_without_an_iommu(boot: Boot, project_archive: bytes) -> None:
    host = boot(BARE, WITH_IOMMU)
    enabling.prepare(host, project_archive, "")
    found = check(host, "firmware", wanted=1)
    assert found["Status"] == "fail"
    assert "hypervisor (QEMU)" in found["Detail"]
