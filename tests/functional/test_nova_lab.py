"""Real Nova on an emulated host: real libvirtd, real groups, our hook.

nova-compute and its libvirt driver run in the host, the control plane
outside.  Nested guests are emulated once more (``virt_type = qemu``).
"""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.functional.lab import guest, image, product
from tests.functional.lab.host import EmulatedHost
from tests.functional.lab.product import CARD, Product
from tests.functional.lab.topology import SEED
from tests.functional.openstack import archive, emulated, generated
from tests.functional.openstack.cloud import Cloud
from tests.functional.test_lab import displays, driver, peers

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

_BUILT_S = 400.0
_FOLDER = "/root/nova"


class Site(NamedTuple):
    """A cloud whose compute is an emulated host, set up by our commands."""

    cloud: Cloud
    ours: Product
    flavor: str

    @property
    def host(self) -> EmulatedHost:
        return self.ours.host

    def create(self, name: str) -> dict[str, Any]:
        """What became of a server that asks for one card."""
        made = self.cloud.asked(
            *("server", "create", "--image", "guest", "--nic", "none"),
            *("--flavor", self.flavor, name),
        )
        return self.cloud.settled(made["id"], _BUILT_S)

    def told(self) -> str:
        """What the control plane and nova-compute complained of."""
        return f"{self.cloud.told()}\n{emulated.told(self.host)}"


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
            yield Site(cloud, ours, _set_up(cloud, ours))


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

    held = _held(host, server["id"])
    assert held[0] in displays(host)
    assert set(held) == peers(host, held[0])
    assert {driver(host, function) for function in held} == {"vfio-pci"}
    assert _seen(site, "one") >= set(CARD)
    shown = site.ours.asked("allocation", "show", server["id"])
    assert shown["Functions"] == list(held)

    other = next(card for card in displays(host) if card not in held)
    refused = _start(host, "half", other)
    assert refused.returncode != 0
    said = " ".join(refused.stderr.split())
    assert f"gpu-passthrough: domain half: it takes {other} of IOMMU" in said

    site.cloud.openstack("server", "delete", "--wait", "one")
    _freed(site, held[0])
    assert host.sh("virsh list --all --name").strip() == ""
    journal = host.run(("journalctl", "-t", "gpu-passthrough", "-n", "50"))
    assert f"reset of {held[0]}" in journal.stdout
    assert site.ours.snapshot()["units"] == before["units"]


def test_what_the_hook_refuses_is_told_by_nova(site: Site) -> None:
    """Somebody took a card by hand, of which Nova knows nothing."""
    host = site.host
    taken = displays(host)
    for card in taken:
        name, whole = f"by-hand-{card[5:7]}", sorted(peers(host, card))
        assert _start(host, name, *whole).returncode == 0
    server = site.create("late")
    assert server["status"] == "ERROR"
    assert "gpu-passthrough" in emulated.told(host)
    site.cloud.openstack("server", "delete", "--wait", "late")
    host.sh("virsh list --name | xargs -r -n 1 virsh destroy")
    for card in taken:
        _freed(site, card)


def _set_up(cloud: Cloud, ours: Product) -> str:
    """The flavor's name, when all is as an operator would make it."""
    host = ours.host
    # Python takes seconds to start there.
    more = f"{product.ALIASES}[hook]\nwait_s = 300\n"
    host.put(product.CONFIG, more.encode())
    ours.cli("hook", "install")
    # It looks for hooks when it starts.
    host.sh("systemctl restart libvirtd")
    ours.cli("nova", "config", "--mode", "full", "-o", _FOLDER)
    made = generated.read(lambda name: host.get(f"{_FOLDER}/{name}").decode())
    cloud.configure(made.control)
    name = host.sh("hostname").strip()
    conf = cloud.compute_conf(name, emulated.STATE, more=emulated.OPTIONS)
    emulated.install(host, archive.ensure(), conf, made.compute)
    emulated.start(host)
    cloud.discover()
    cloud.shell("sh", "-c", made.flavors)
    return made.flavor


def _start(
    host: EmulatedHost, name: str, *functions: str
) -> subprocess.CompletedProcess[str]:
    """How it ended to start a guest by hand."""
    xml = guest.domain_xml(
        name, str(uuid.uuid4()), f"/run/{name}.log", functions=functions
    )
    host.put(f"/run/{name}.xml", xml.encode())
    return host.run(("virsh", "create", f"/run/{name}.xml"), check=False)


def _held(host: EmulatedHost, server: str) -> tuple[str, ...]:
    """The functions that the server's guest runs with."""
    found = host.sh(
        f"virsh dumpxml {server} | sed -n '/<hostdev/,/<\\/source/p'"
        " | sed -n \"s/.*domain='0x\\(.*\\)' bus='0x\\(.*\\)'"
        " slot='0x\\(.*\\)' function='0x\\(.*\\)'.*/\\1:\\2:\\3.\\4/p\""
    )
    return tuple(sorted(found.split()))


def _seen(site: Site, name: str) -> set[str]:
    """The functions that the guest itself found, by its console."""
    until = time.monotonic() + _BUILT_S
    while time.monotonic() < until:
        said = site.cloud.openstack("console", "log", "show", name)
        found = guest.seen(said.rstrip("\n") + "\n")
        if found is not None:
            return set(found)
        time.sleep(1)
    raise AssertionError(f"{name} wrote no END in {_BUILT_S} s")


def _freed(site: Site, card: str) -> None:
    """Nothing, once the card's unit is free."""
    until = time.monotonic() + _BUILT_S
    while True:
        rows = site.ours.asked("unit", "list")
        (row,) = (r for r in rows if r["Unit"].endswith(f"/{card}"))
        if row["State"] == "free":
            return
        assert time.monotonic() < until, row
        time.sleep(1)
