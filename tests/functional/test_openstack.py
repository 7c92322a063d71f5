"""Real Nova runs with what is generated: whole groups, in both modes.

Keystone, Placement, nova-api, nova-conductor, nova-scheduler and
nova-compute are processes from PyPI; below nova-compute's libvirt driver is
the stand-in for libvirt that Nova tests itself with.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gpu_passthrough_plugin.allocation import load
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.flow.recycle import recycle
from gpu_passthrough_plugin.model.one_time_use import RecycleResult
from tests.functional.openstack import generated, settings
from tests.functional.openstack.cloud import Cloud
from tests.functional.openstack.generated import Generated
from tests.functional.world import World
from tests.trees import host as described
from tests.trees import hosts

_COMMAND = (
    sys.executable,
    "-c",
    "import sys; from gpu_passthrough_plugin.cli.main import main;"
    " sys.exit(main())",
)
# Nova gives these to one instance only, until they are given back.
_ONE_TIME = ("primary",)
BUSES = ("0000:04", "0000:05", "0000:06")


class Site(NamedTuple):
    """A cloud with one compute, and what a guest of its gets.

    :param recycler: the compute's host, where its devices are for one use.
    """

    cloud: Cloud
    host: str
    flavor: str
    domains: Path
    functions: tuple[str, ...]
    recycler: World | None

    def create(self, name: str) -> dict[str, Any]:
        """What became of a server that asks for one card."""
        made = self.cloud.asked(
            *("server", "create", "--image", "guest", "--nic", "none"),
            *("--flavor", self.flavor, name),
        )
        return self.cloud.settled(made["id"])

    def held(self, server: dict[str, Any]) -> list[str]:
        """The functions that the server's guest was defined with."""
        domain = ET.parse(self.domains / f"{server['id']}.xml")  # noqa: S314
        found = domain.iterfind("devices/hostdev/source/address")
        return sorted(
            "{:04x}:{:02x}:{:02x}.{:x}".format(
                *(
                    int(where.attrib[part], 16)
                    for part in ("domain", "bus", "slot", "function")
                )
            )
            for where in found
        )


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as found:
        yield found


@pytest.fixture(params=("primary", "full"))
def site(
    request: pytest.FixtureRequest, cloud: Cloud, tmp_path: Path
) -> Iterator[Site]:
    """A compute with three cards, set up with what is generated for it."""
    mode: str = request.param
    name, host = f"c-{mode}", _three_cards()
    made = _generated(mode, name, host.write(tmp_path / "root"), tmp_path)
    cloud.configure(made.control)
    domains = cloud.start_compute(name, host.tree(), made.compute)
    cloud.shell("sh", "-c", made.flavors)
    listed = ("0", "1") if mode == "full" else ("0",)
    recycler = World(tmp_path, host) if mode in _ONE_TIME else None
    yield Site(cloud, name, made.flavor, domains, listed, recycler)
    servers = [server["ID"] for server in cloud.asked("server", "list")]
    cloud.openstack("server", "delete", "--wait", *servers)
    cloud.remove_compute(name)


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, site: Site) -> Iterator[None]:
    """When a test fails, what the services complained of is shown."""
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        print(site.cloud.told())


def test_each_server_has_a_whole_group_and_the_fourth_none(
    site: Site,
) -> None:
    """A card that was given back goes to the next who asks."""
    whole = [[f"{bus}:00.{n}" for n in site.functions] for bus in BUSES]
    providers = {
        found["name"]
        for found in site.cloud.asked("resource", "provider", "list")
    }
    assert providers == {site.host} | {
        f"{site.host}_{address}" for group in whole for address in group
    }

    servers = [site.create(name) for name in ("one", "two", "three")]
    assert [server.get("fault") for server in servers] == [None] * 3
    assert sorted(map(site.held, servers)) == whole

    fourth = site.create("four")
    assert fourth["status"] == "ERROR"
    assert "No valid host" in fourth["fault"]["message"]

    given_back = site.held(servers[1])
    site.cloud.openstack("server", "delete", "--wait", "two")
    if site.recycler:
        assert site.create("early")["status"] == "ERROR"
        assert recycled(site, site.recycler) == given_back
        assert recycled(site, site.recycler) == []
    fifth = site.create("five")
    assert "fault" not in fifth
    assert site.held(fifth) == given_back


def recycled(site: Site, world: World) -> list[str]:
    """The devices for one use that were cleaned and given back."""
    identity = site.cloud.control.reached().identity
    options = {
        "auth_type": "password",
        "auth_url": identity,
        "username": settings.USER,
        "password": settings.PASSWORD,
        "project_name": settings.PROJECT,
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": settings.REGION,
    }
    ledger = load.load("placement", LedgerSettings("", placement=options))
    providers = ledger.pci_providers()
    context = world.context()
    done = recycle(context, providers, site.host, is_dry=False)
    providers.close()
    assert {one.result for one in done} <= {RecycleResult.DONE}
    return [str(one.provider.address) for one in done]


def _generated(mode: str, name: str, root: Path, folder: Path) -> Generated:
    """What the command writes for a host on disk."""
    into = folder / "nova"
    argv = ["nova", "config", "--mode", mode, "--host", name, "-o", str(into)]
    if mode in _ONE_TIME:
        argv += ["--one-time-use", "yes"]
    given = ("--config-file", "/dev/null", "--root", str(root))
    subprocess.run((*_COMMAND, *given, *argv), check=True)
    return generated.read(lambda name: (into / name).read_text())


def _three_cards() -> described.Host:
    """A server with three cards of two functions, each card a group."""
    host = hosts.server()
    for number, bus in enumerate(BUSES):
        port = f"0000:00:{number + 4:02x}.0"
        hosts.port(host, port, bus, 40 + number, "8086")
        hosts.card(host, bus, port, 20 + number)
    return host
