"""Real Nova runs with what is generated: whole groups, in both modes.

Keystone, Placement, nova-api, nova-conductor, nova-scheduler and
nova-compute are processes from PyPI; below nova-compute's libvirt driver is
the stand-in for libvirt that Nova tests itself with.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow.units import units
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.nova import control, document
from gpu_passthrough_plugin.nova.asked import Asked, Host, Mode
from tests.functional.openstack.cloud import Cloud
from tests.trees import hosts

BUSES = ("0000:04", "0000:05", "0000:06")
SMALL = control.Size(vcpus=1, ram_mib=64, disk_gib=1)


class Site(NamedTuple):
    """A cloud with one compute, and what a guest of its gets."""

    cloud: Cloud
    host: str
    flavor: str
    domains: Path
    functions: tuple[str, ...]

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


@pytest.fixture(params=tuple(Mode))
def site(
    request: pytest.FixtureRequest, cloud: Cloud, tmp_path: Path
) -> Iterator[Site]:
    """A compute with three cards, set up with what is generated for it."""
    asked = Asked(mode=request.param)
    name, tree = f"c-{asked.mode}", _three_cards()
    policy = Policy((selector.parse("class=03"),))
    host = Host(name, units(tree, policy, name))
    alias = document.alias_file([host], asked)
    scheduler = document.scheduler_file(asked)
    cloud.configure({"alias.conf": alias, "scheduler.conf": scheduler})
    compute = {
        "alias.conf": alias,
        "pci.conf": document.compute_file(host, asked),
    }
    domains = cloud.start_compute(name, tree, compute)
    flavors = tmp_path / "flavors.sh"
    flavors.write_text(document.flavors_file([host], asked, SMALL))
    cloud.shell("sh", str(flavors))
    listed = ("0", "1") if asked.mode is Mode.FULL else ("0",)
    (flavor,) = control.flavors([host], asked)
    yield Site(cloud, name, flavor.name, domains, listed)
    for server in cloud.asked("server", "list"):
        cloud.openstack("server", "delete", "--wait", server["ID"])
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
    fifth = site.create("five")
    assert "fault" not in fifth
    assert site.held(fifth) == given_back


def _three_cards() -> Tree:
    """A server with three cards of two functions, each card a group."""
    host = hosts.server()
    for number, bus in enumerate(BUSES):
        port = f"0000:00:{number + 4:02x}.0"
        hosts.port(host, port, bus, 40 + number, "8086")
        hosts.card(host, bus, port, 20 + number)
    return host.tree()
