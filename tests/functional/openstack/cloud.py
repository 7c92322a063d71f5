"""A cloud: configured as an operator does, given computes, and asked."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gpu_passthrough_plugin.discovery.tree import Tree
from tests.functional.openstack import devices, identity, programs, settings
from tests.functional.openstack.control import Control, replace
from tests.functional.openstack.services import Worker, python
from tests.functional.openstack.settings import Options

GATEWAY = "10.0.2.2"
"""Where an emulated host finds our loopback.  Source: QEMU, "Network
emulation", user mode networking."""

_COMPUTE_ON = Path(__file__).with_name("compute_on.py")
_COMPUTE: dict[str, Options] = {
    "DEFAULT": {"compute_driver": "libvirt.LibvirtDriver"},
    "libvirt": {"virt_type": "qemu"},
}


class Cloud:
    """Nova, Placement and Keystone, with computes as they are added.

    Glance and Neutron are stand-ins.  All of it ends with the context,
    and with the process that made it.

    :param workdir: an empty folder.
    :param image: the raw disk that instances start from.
    """

    def __init__(self, workdir: Path, image: bytes = bytes(1 << 20)) -> None:
        self.workdir = workdir
        self.control = Control(workdir, image)
        self._computes: dict[str, Worker] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self.control.start(self._open)
        except BaseException as error:
            error.add_note(self.told())
            self._open.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def told(self) -> str:
        """What the services complained of."""
        asked = (*self.control.services, *self._computes.values())
        return "\n".join(service.told() for service in asked)

    def configure(self, generated: Mapping[str, str]) -> None:
        """Nova's services run with these files, by name, from now on."""
        self.control.configure(generated)

    def compute_conf(
        self,
        name: str,
        folder: Path,
        place: str = GATEWAY,
        more: Mapping[str, Options] | None = None,
    ) -> str:
        """``nova.conf`` of a compute which reaches us at an address.

        :param folder: where it keeps what it keeps.
        :param more: further options, by section.
        """
        base = settings.nova(name, folder, self.control.reached(place))
        return settings.text(settings.merged(base, _COMPUTE, more or {}))

    def start_compute(
        self, name: str, host: Tree, generated: Mapping[str, str]
    ) -> Path:
        """Returns when a described host's compute takes instances.

        :param generated: what an operator has beside its ``nova.conf``.
        :returns: the folder with each guest's XML, by its id.
        """
        folder = self.workdir / name
        found, domains = folder / "devices", folder / "domains"
        devices.write(host, found)
        domains.mkdir()
        replace(folder / "nova.conf.d", generated)
        conf = folder / "nova.conf"
        conf.write_text(self.compute_conf(name, folder, "127.0.0.1"))
        given = ("--config-file", str(conf), "--config-dir", f"{conf}.d")
        argv = (str(found), str(domains), name, *given)
        variables = {"OS_NOVA_DISABLE_EVENTLET_PATCHING": "true"}
        worker = Worker(name, python(_COMPUTE_ON, *argv), variables)
        self._open.callback(worker.close)
        self._computes[name] = worker
        worker.start()
        self.discover()
        return domains

    def discover(self) -> None:
        """Nova knows of every compute that has started by now."""
        self.control.manage("cell_v2", "discover_hosts")

    def remove_compute(self, name: str) -> None:
        """A compute without instances ends and is forgotten."""
        self._computes.pop(name).close()
        for found in self.asked("compute", "service", "list"):
            if found["Host"] == name:
                which = str(found["ID"])
                self.openstack("compute", "service", "delete", which)

    def openstack(self, *argv: str) -> str:
        """What the operator's command wrote; it had to succeed."""
        return self.shell("openstack", *argv)

    def asked(self, *argv: str) -> Any:
        """What the command wrote as JSON."""
        return json.loads(self.openstack(*argv, "-f", "json"))

    def shell(self, *argv: str) -> str:
        """What any command wrote in the operator's shell."""
        variables = identity.variables(self.control.reached().identity)
        return programs.output(argv, variables, self.workdir)

    def settled(self, server: str, within_s: float = 120) -> dict[str, Any]:
        """What Nova says of a server, once it has been built or has not.

        :param server: its id.
        """
        using = identity.session(self.control.reached().identity)
        where = {"service_type": "compute", "interface": "public"}
        end = time.monotonic() + within_s
        while True:
            answer = using.get(f"/servers/{server}", endpoint_filter=where)
            found: dict[str, Any] = answer.json()["server"]
            if found["status"] in ("ACTIVE", "ERROR"):
                return found
            assert time.monotonic() < end, f"{found}\n{self.told()}"
            time.sleep(0.3)
