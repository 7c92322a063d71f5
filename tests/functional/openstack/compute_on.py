"""nova-compute of a described host, on a stand-in for libvirt.

``compute_on.py DEVICES DOMAINS HOST ARGUMENT…``

A program of its own, run by the Python that Nova is installed for.  It is
nova-compute with Nova's own libvirt driver; below that one is the stand-in
for libvirt which Nova's functional tests have, as no libvirt shows PCI
functions that its machine has not got.  DEVICES holds the XML of those; in
DOMAINS is that of every guest which was defined.
"""

import importlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock

# It says first how Nova's services run; nothing may be imported before.
nova_compute = importlib.import_module("nova.cmd.compute")
fixtures = importlib.import_module("nova.tests.fixtures")
libvirt = importlib.import_module("nova.tests.fixtures.libvirt")

_CPUS = 8
_DRIVER = "nova.virt.libvirt.driver.LibvirtDriver"
_HOST = "nova.virt.libvirt.host.Host"


class Device:
    """A node device, of which libvirt is asked its XML."""

    def __init__(self, xml: str) -> None:
        self._xml = xml

    def XMLDesc(self, flags: int) -> str:
        return self._xml


def devices(folder: Path) -> Any:
    """What the stand-in takes for the host's PCI functions."""
    found = libvirt.HostPCIDevicesInfo(num_pci=0, num_pfs=0, num_vfs=0)
    for path in sorted(folder.glob("*.xml")):
        found.devices[path.stem] = Device(path.read_text())
    return found


def connection(host: str, pci: Any, domains: Path) -> Any:
    """A connection to the stand-in, which keeps guests' XML in files."""
    size = {"cpu_nodes": 1, "cpu_sockets": 1, "cpu_cores": _CPUS}
    made = libvirt.Connection(
        "qemu:///system",
        version=libvirt.FAKE_LIBVIRT_VERSION,
        hv_version=libvirt.FAKE_QEMU_VERSION,
        host_info=libvirt.HostInfo(**size),
        pci_info=pci,
        hostname=host,
    )
    define = made.defineXML

    def kept(xml: str) -> Any:
        domain = define(xml)
        (domains / f"{domain.UUIDString()}.xml").write_text(xml)
        return domain

    made.defineXML = kept
    return made


def put_in_place(conn: Any) -> None:
    """Stand-ins for what is below the driver: libvirt, disks and sysfs."""
    for fixture in (
        fixtures.LibvirtImageBackendFixture(),
        fixtures.CGroupsFixture(),
        fixtures.LibvirtFixture(),
        fixtures.OSBrickFixture(),
        fixtures.SysFileSystemFixture(cpus_supported=_CPUS),
    ):
        fixture.setUp()
    local = {"total": 128, "used": 44, "free": 84}
    for name, given in (
        (f"{_DRIVER}._create_image", (False, False)),
        (f"{_DRIVER}._ensure_console_log_for_instance", None),
        (f"{_DRIVER}._get_local_gb_info", local),
        (f"{_HOST}.get_online_cpus", set(range(_CPUS))),
        (f"{_HOST}.get_connection", conn),
        ("nova.privsep.utils.supports_direct_io", True),
    ):
        mock.patch(name, return_value=given).start()


def main() -> None:
    found, domains, host = sys.argv[1:4]
    del sys.argv[1:4]
    pci = devices(Path(found))
    put_in_place(connection(host, pci, Path(domains)))
    nova_compute.main()


main()
