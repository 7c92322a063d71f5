"""A cloud whose compute is an emulated host, set up by our commands."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.functional.lab import guest
from tests.functional.lab.host import EmulatedHost
from tests.functional.lab.product import Product
from tests.functional.openstack import archive, emulated, generated
from tests.functional.openstack.cloud import Cloud
from tests.functional.openstack.settings import Options, merged

_BUILT_S = 400.0
_FOLDER = "/root/nova"


class Site(NamedTuple):
    """The cloud, what the host has of ours, and a flavor with one card."""

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

    def delete(self, name: str) -> None:
        """Return once Nova has deleted a server."""
        self.cloud.openstack("server", "delete", "--wait", name)

    def told(self) -> str:
        """What the control plane and nova-compute complained of."""
        return f"{self.cloud.told()}\n{emulated.told(self.host)}"

    def held(self, server: str) -> tuple[str, ...]:
        """The functions that a server's guest runs with."""
        found = self.host.sh(
            f"virsh dumpxml {server} | sed -n '/<hostdev/,/<\\/source/p'"
            " | sed -n \"s/.*domain='0x\\(.*\\)' bus='0x\\(.*\\)'"
            " slot='0x\\(.*\\)' function='0x\\(.*\\)'.*"
            '/\\1:\\2:\\3.\\4/p"'
        )
        return tuple(sorted(found.split()))

    def seen(self, name: str) -> set[str]:
        """The functions that a guest itself found, by its console."""
        until = time.monotonic() + _BUILT_S
        while True:
            said = self.cloud.openstack("console", "log", "show", name)
            found = guest.seen(said.rstrip("\n") + "\n")
            if found is not None:
                return set(found)
            assert time.monotonic() < until, f"{name} wrote only: {said!r}"
            time.sleep(1)

    def freed(self, card: str) -> None:
        """Return once the card's unit is free."""
        until = time.monotonic() + _BUILT_S
        while True:
            rows = self.ours.asked("unit", "list")
            (row,) = (r for r in rows if r["Unit"].endswith(f"/{card}"))
            if row["State"] == "free":
                return
            assert time.monotonic() < until, row
            time.sleep(1)

    def start_by_hand(
        self, name: str, *functions: str
    ) -> subprocess.CompletedProcess[str]:
        """How it ended to start a guest of which Nova knows nothing."""
        xml = guest.domain_xml(
            name, str(uuid.uuid4()), f"/run/{name}.log", functions=functions
        )
        path = f"/run/{name}.xml"
        self.host.put(path, xml.encode())
        return self.host.run(("virsh", "create", path), check=False)


def set_up(
    cloud: Cloud,
    ours: Product,
    mode: str,
    more: Mapping[str, Options] | None = None,
) -> Site:
    """The site, when all is as an operator makes it by the guide.

    :param mode: of ``nova config``.
    :param more: options of nova-compute's that need our package beside it,
        by section.
    """
    host = ours.host
    ours.cli("hook", "install")
    # It looks for hooks when it starts.
    host.sh("systemctl restart libvirtd")
    ours.cli("nova", "config", "--mode", mode, "-o", _FOLDER)
    made = generated.read(lambda name: host.get(f"{_FOLDER}/{name}").decode())
    cloud.configure(made.control)
    name = host.sh("hostname").strip()
    options = merged(emulated.OPTIONS, more or {})
    conf = cloud.compute_conf(name, emulated.STATE, more=options)
    emulated.install(host, archive.ensure(), conf, made.compute)
    if more:
        emulated.add_plugin(host)
    ours.cli("nova", "check", *emulated.configuration(host))
    emulated.start(host)
    cloud.discover()
    cloud.shell("sh", "-c", made.flavors)
    return Site(cloud, ours, made.flavor)
