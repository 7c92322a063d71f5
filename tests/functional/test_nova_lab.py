"""Real Nova on an emulated host: real libvirtd, real groups, our hook.

nova-compute and its libvirt driver run in the host, the control plane
outside.  Nested guests are emulated once more (``virt_type = qemu``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.lab import guest, image, product
from tests.functional.lab.host import EmulatedHost
from tests.functional.lab.product import CARD
from tests.functional.lab.topology import SEED
from tests.functional.openstack import emulated
from tests.functional.openstack.cloud import Cloud
from tests.functional.openstack.site import Site, set_up
from tests.functional.test_lab import displays, driver, peers

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def site(
    lab_image: image.Image,
    project_archive: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Three cards, whole groups by the scheduler's filter, and the hook."""
    workdir = tmp_path_factory.mktemp("host")
    with (
        EmulatedHost(SEED, lab_image, workdir) as host,
        product.installed(host, project_archive) as ours,
    ):
        disk = emulated.partitioned(host.get(guest.FORCED))
        with Cloud(tmp_path_factory.mktemp("cloud"), disk) as cloud:
            # Python takes seconds to start there.
            more = f"{product.ALIASES}[hook]\nwait_s = 300\n"
            host.put(product.CONFIG, more.encode())
            yield set_up(cloud, ours, "full")


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, site: Site) -> Iterator[None]:
    """When a test fails, what the services complained of is shown."""
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        print(site.told())


def test_a_server_has_a_whole_group_and_gives_it_back(site: Site) -> None:
    """The hook is asked by libvirt, and Nova says what it answers."""
    host = site.host
    before = site.ours.snapshot()
    server = site.create("one")
    assert "fault" not in server

    held = site.held(server["id"])
    assert held[0] in displays(host)
    assert set(held) == peers(host, held[0])
    assert {driver(host, function) for function in held} == {"vfio-pci"}
    assert site.seen("one") >= set(CARD)
    shown = site.ours.asked("allocation", "show", server["id"])
    assert shown["Functions"] == list(held)

    other = next(card for card in displays(host) if card not in held)
    refused = site.start_by_hand("half", other)
    assert refused.returncode != 0
    said = " ".join(refused.stderr.split())
    assert "gpu-passthrough: domain half: " in said
    assert f"takes {other} of IOMMU" in said

    site.delete("one")
    site.freed(held[0])
    assert host.sh("virsh list --all --name").strip() == ""
    journal = host.run(("journalctl", "-t", "gpu-passthrough", "-n", "50"))
    assert f"reset of {held[0]}" in journal.stdout
    assert site.ours.snapshot()["units"] == before["units"]


@pytest.mark.rotating
def test_what_the_hook_refuses_is_told_by_nova(site: Site) -> None:
    """Somebody took a card by hand, of which Nova knows nothing."""
    host = site.host
    taken = displays(host)
    for card in taken:
        name, whole = f"by-hand-{card[5:7]}", sorted(peers(host, card))
        assert site.start_by_hand(name, *whole).returncode == 0
    server = site.create("late")
    assert server["status"] == "ERROR"
    assert "gpu-passthrough" in emulated.told(host)
    site.delete("late")
    host.sh("virsh list --name | xargs -r -n 1 virsh destroy")
    for card in taken:
        site.freed(card)
