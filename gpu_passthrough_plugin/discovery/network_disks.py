"""Which functions lead to a disk that is reached over a network.

By iSCSI, NVMe over fabrics, Fibre Channel over Ethernet or ATA over
Ethernet.  What sysfs shows of such a disk lies below no PCI function.

Source: Linux, drivers/scsi/scsi_transport_iscsi.c, scsi_transport_fc.c,
drivers/nvme/host/fabrics.c (nvmf_get_address), drivers/scsi/fcoe,
drivers/block/aoe/aoeblk.c.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpu_passthrough_plugin.discovery.host_interfaces import HostNetwork
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import chroot_path, sysfs_path
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

_CONNECTIONS = "sys/class/iscsi_connection"
_FC_HOSTS = "sys/class/fc_host"
_SESSION = re.compile(r"/session([0-9]+)(?:/|$)")
_FABRICS = re.compile(r".*/nvme-fabrics/ctl/nvme[0-9]+(?=/|$)")
_ETHERNET = re.compile(r"/net/([^/]+)/(?:ctlr_|host)[0-9]+/")
_AOE = re.compile(r".*/virtual/block/etherd![^/]+")
_HOST_PORT = re.compile(r"pn-(0x[0-9a-f]+)")

Chain = tuple[str, ...]
Chains = Mapping[Address, Chain]


def functions(network: HostNetwork, path: str) -> Chains | Unknown | None:
    """Return the functions that lead to a block device over a network.

    Each with the names of the interfaces from it up to the session.  None
    for a device that is on no network; ``Unknown`` where its interfaces
    cannot be found out.

    :param path: of the device in sysfs, without links.
    """
    session = _SESSION.search(path)
    if session:
        return _iscsi(network, path, session[1])
    controller = _FABRICS.match(path)
    if controller:
        return _nvme(network, controller[0])
    interface = _ETHERNET.search(path)
    if interface:
        return _interfaces(network, (interface[1],))
    device = _AOE.match(path)
    if device:
        names = text(network.tree, f"{device[0]}/netif")
        if isinstance(names, Unknown):
            return names.at(f"{device[0]}/netif")
        return _interfaces(network, tuple(names.split()))
    return None


def nvme_address(value: str) -> dict[str, str]:
    """Return the fields of an NVMe controller's ``address``.

    Such as ``traddr=192.0.2.5,trsvcid=4420,host_iface=eno1``.
    """
    fields = (field.partition("=") for field in value.split(","))
    return {name: text for name, _, text in fields}


def host_port(fields: Mapping[str, str]) -> str | None:
    """Return the name of the host's Fibre Channel port, such as ``0x21…``."""
    port = _HOST_PORT.search(fields.get("host_traddr", ""))
    return port[1] if port else None


def _iscsi(network: HostNetwork, path: str, number: str) -> Chains | Unknown:
    """Return the functions to a session's portals.

    None where a host adapter has the session: that is on the device's path.
    """
    session = f"session{number}"
    names = network.tree.names(_CONNECTIONS)
    connections = [
        name
        for name in (() if isinstance(names, Unknown) else names)
        if name.startswith(f"connection{number}:")
    ]
    chains: dict[Address, Chain] = {}
    why: Unknown | None = None
    for name in connections:
        reached = _portal(network, name, session)
        if isinstance(reached, Unknown):
            why = reached
        else:
            chains |= reached
    if sysfs_path.endpoints(path):
        return chains
    if not connections:
        return Unknown(Why.MISSING, f"{session} has no {_CONNECTIONS}")
    return chains if why is None else why


def _portal(
    network: HostNetwork, connection: str, session: str
) -> Chains | Unknown:
    """Return the functions to one portal.

    The first file has the address that the connection uses, and none while
    it is broken; the second what was asked for, which may be a name.
    """
    why: Unknown = MISSING
    for name in ("address", "persistent_address"):
        address = text(network.tree, f"{_CONNECTIONS}/{connection}/{name}")
        if not isinstance(address, Unknown):
            reached = _towards(network, address, session)
            if not isinstance(reached, Unknown):
                return reached
            address = reached
        if address is not MISSING:
            why = address
    return why.at(connection)


def _nvme(network: HostNetwork, folder: str) -> Chains | Unknown:
    name = chroot_path.name(folder)
    (transport, address) = (
        text(network.tree, f"{folder}/{attribute}")
        for attribute in ("transport", "address")
    )
    if isinstance(transport, Unknown) or isinstance(address, Unknown):
        return Unknown(Why.MISSING, f"{folder} has no transport or address")
    fields = nvme_address(address)
    if transport in {"tcp", "rdma"}:
        if fields.get("host_iface"):
            return _interfaces(network, (fields["host_iface"],))
        return _towards(network, fields.get("traddr", ""))
    if transport == "fc":
        return _fc_port(network.tree, host_port(fields), name)
    return Unknown(Why.MISSING, f"{name} is over {transport}")


def _fc_port(tree: Tree, port: str | None, name: str) -> Chains | Unknown:
    hosts = tree.names(_FC_HOSTS)
    for host in () if isinstance(hosts, Unknown) else hosts:
        folder = f"{_FC_HOSTS}/{host}"
        if port and text(tree, f"{folder}/port_name") == port:
            path = tree.real(folder)
            if isinstance(path, Unknown):
                return path
            chains: dict[Address, Chain] = {
                address: (host,) for address in sysfs_path.endpoints(path)
            }
            return chains or Unknown(Why.MISSING, f"{host} is not on PCI")
    return Unknown(Why.MISSING, f"{name} has no port in {_FC_HOSTS}")


def _towards(
    network: HostNetwork, address: str, *session: str
) -> Chains | Unknown:
    interfaces = network.towards(address)
    if isinstance(interfaces, Unknown):
        return interfaces
    return _interfaces(network, interfaces, *session)


def _interfaces(
    network: HostNetwork, interfaces: tuple[str, ...], *session: str
) -> Chains | Unknown:
    """Return the functions below interfaces.

    None for one with nothing physical below it, such as a tunnel's or a
    container's: what carries its packets has a route of its own.
    """
    chains: dict[Address, Chain] = {}
    for interface in interfaces:
        below = network.functions(interface)
        if not isinstance(below, Unknown):
            for address, names in below.items():
                chains.setdefault(address, (*names, *session))
        elif below.why is not Why.MISSING or not network.has(interface):
            return below
    return chains
