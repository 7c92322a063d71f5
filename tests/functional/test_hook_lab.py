"""A real libvirtd asks the hook before it starts guests made by hand."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence

import pytest

from tests.functional.lab import guest, product
from tests.functional.lab.host import EmulatedHost
from tests.functional.lab.product import CARD, Product
from tests.functional.test_lab import displays

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

_TIMEOUT_S = 180.0


def restarted(host: EmulatedHost) -> None:
    """libvirt's daemon, which looks for hooks when it starts."""
    host.sh("systemctl restart libvirtd && virsh list --all")


@pytest.fixture(scope="module")
def ours(seed_host: EmulatedHost, project_archive: bytes) -> Iterator[Product]:
    with product.installed(seed_host, project_archive) as installed:
        # Python takes seconds to start there.
        more = f"{product.ALIASES}[hook]\nwait_s = 300\n"
        seed_host.put(product.CONFIG, more.encode())
        installed.cli("hook", "install")
        restarted(seed_host)
        yield installed
        installed.cli("hook", "remove")
        restarted(seed_host)


@pytest.fixture
def card(ours: Product) -> Iterator[str]:
    """A card that goes back to the host's drivers after the test."""
    host = ours.host
    before = ours.snapshot()
    found = displays(host)[0]
    yield found
    host.sh("virsh list --name | xargs -r -n 1 virsh destroy")
    state(ours, found, "free")
    # libvirt leaves a card on vfio-pci that it once saw there.
    pci = "/sys/bus/pci"
    for function in whole(found):
        host.sh(
            f"echo > {pci}/devices/{function}/driver_override;"
            f" echo {function} > {pci}/drivers/vfio-pci/unbind || true;"
            f" echo {function} > {pci}/drivers_probe || true"
        )
    assert ours.snapshot() == before


def whole(card: str) -> tuple[str, str]:
    return card, f"{card[:-1]}1"


def written(
    ours: Product, name: str, functions: Sequence[str], identity: str = ""
) -> tuple[str, str]:
    """The path of a guest's XML in the host, and its UUID."""
    identity = identity or str(uuid.uuid4())
    xml = guest.domain_xml(
        name, identity, product.serial(name), functions=functions
    )
    path = f"/run/{name}.xml"
    ours.host.put(path, xml.encode())
    return path, identity


def state(ours: Product, card: str, wanted: str) -> None:
    """Nothing, once the card's unit is in that state."""
    until = time.monotonic() + _TIMEOUT_S
    while True:
        rows = ours.asked("unit", "list")
        (row,) = (r for r in rows if r["Unit"].endswith(f"/{card}"))
        if row["State"] == wanted:
            return
        said = ours.host.run(
            ("journalctl", "-t", "gpu-passthrough", "-n", "50"), check=False
        )
        assert time.monotonic() < until, f"{row}\n{said.stdout}"
        time.sleep(1)


def test_half_of_a_group_is_refused_in_our_words(
    ours: Product, card: str
) -> None:
    """libvirt itself would say that the group is not viable."""
    path, identity = written(ours, "half", (card,))
    refused = ours.host.run(("virsh", "create", path), check=False)
    assert refused.returncode != 0
    said = " ".join(refused.stderr.split())
    audio = whole(card)[1]
    assert "gpu-passthrough: domain half: " in said
    assert f"takes {card} of IOMMU" in said
    assert f"{audio} is on snd_hda_intel" in said
    assert "is not viable" not in said
    lonely, _ = written(ours, "lonely", (audio,))
    refused = ours.host.run(("virsh", "create", lonely), check=False)
    assert f"takes {audio} of IOMMU" in " ".join(refused.stderr.split())
    state(ours, card, "free")
    assert identity not in ours.cli("allocation", "list").stdout


def test_a_whole_group_is_the_guests_until_it_ends(
    ours: Product, card: str
) -> None:
    path, identity = written(ours, "whole", whole(card))
    ours.host.run(("virsh", "create", path))
    state(ours, card, "active")
    held = ours.asked("allocation", "show", identity)
    assert held["Functions"] == list(whole(card))
    assert set(CARD) <= set(ours.seen("whole"))
    thief, _ = written(ours, "thief", whole(card))
    refused = ours.host.run(("virsh", "create", thief), check=False)
    assert f"is active for {identity}" in " ".join(refused.stderr.split())
    boot = ours.domain("second", str(uuid.uuid4()))
    refused = ours.cli(
        "instance", "boot", boot, "--request", "gpu:3", check=False
    )
    assert refused.returncode == 1
    ours.host.run(("virsh", "destroy", "whole"))
    state(ours, card, "free")
    # Reset, and not only let go.
    said = ours.host.run(("journalctl", "-t", "gpu-passthrough", "-n", "50"))
    assert f"reset of {card}" in said.stdout


def test_a_guest_that_is_started_anew_at_once(
    ours: Product, card: str
) -> None:
    """As Nova does when it reboots one the hard way."""
    host = ours.host
    path, _ = written(ours, "again", whole(card))
    host.run(("virsh", "define", path))
    try:
        host.run(("virsh", "start", "again"))
        for _ in range(2):
            host.sh("virsh destroy again && virsh start again", timeout_s=400)
            state(ours, card, "active")
            assert set(CARD) <= set(ours.seen("again"))
        host.run(("virsh", "destroy", "again"))
        state(ours, card, "free")
    finally:
        host.run(("virsh", "destroy", "again"), check=False)
        host.run(("virsh", "undefine", "again"))


def test_a_guest_of_ours_goes_through(ours: Product, card: str) -> None:
    identity = str(uuid.uuid4())
    path = ours.domain("booted", identity)
    row = ours.asked("instance", "boot", path, "--request", "gpu:1")
    assert row["State"] == "active"
    assert set(CARD) <= set(ours.seen("booted"))
    ours.cli("instance", "release", identity)
    assert "active" not in ours.cli("unit", "list").stdout
    state(ours, card, "free")


def test_a_running_guest_is_claimed_for_by_reconnecting(
    ours: Product, card: str
) -> None:
    """As when the hook comes to a host whose guests run."""
    ours.cli("hook", "remove")
    path, identity = written(ours, "early", whole(card))
    ours.host.run(("virsh", "create", path))
    state(ours, card, "free")
    ours.cli("hook", "install")
    restarted(ours.host)
    state(ours, card, "active")
    assert "early" in ours.host.sh("virsh list --name")
    released = ours.cli("instance", "release", identity)
    assert "powered off" in released.stderr
    state(ours, card, "free")


def test_a_guest_without_functions_does_not_notice(
    ours: Product, card: str
) -> None:
    path, _ = written(ours, "plain", ())
    ours.host.run(("virsh", "create", path))
    ours.host.run(("virsh", "destroy", "plain"))
    state(ours, card, "free")
