"""Which lines of a file a recording keeps: those that discovery uses.

The rest names machines, networks or people, or is large and not looked at.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from gpu_passthrough_plugin.discovery import facts, network_disks
from gpu_passthrough_plugin.discovery.modules import module_name
from gpu_passthrough_plugin.formats import (
    modules_alias,
    mountinfo,
    pci_config,
    routes,
    rtnetlink,
)
from gpu_passthrough_plugin.formats.routes import Route, RouteIndex
from gpu_passthrough_plugin.model.identifiers import HIDDEN
from gpu_passthrough_plugin.model.reading import decoded, encoded

# In place of a network's address: 192.0.2.0/24 and 2001:db8::/32.
# Source: RFC 5737, RFC 3849.
_EXAMPLE_IPV4 = ("000200C0", "00FFFFFF")
_EXAMPLE_IPV6 = ("20010db8" + "0" * 24, "20")
_EXAMPLES = {"inet": "192.0.2.0/24", "inet6": "2001:db8::/32"}
# In place of a disk's address on a network, and of a Fibre Channel port's
# name: those of 198.18.0.0/15 and 3fff::/20, counted.
# Source: RFC 2544, RFC 9637.
_FIRST_IPV4, _FIRST_IPV6 = (198 << 24) + (18 << 16) + 1, (0x3FFF << 112) + 1
_ISCSI_ADDRESS = re.compile(
    r".*/iscsi_connection/[^/]+/(?:persistent_)?address"
)
_NVME_ADDRESS = re.compile(r".*/nvme-fabrics/ctl/nvme[0-9]+/address")
_PORT_NAME = re.compile(r".*/fc_host/[^/]+/port_name")
# An interface that is up, as its link-local route says.
_LINK_UP = (
    "fe800000000000000000000000000000 40 00000000000000000000000000000000 00"
    " 00000000000000000000000000000000 00000100 00000001 00000000 00000001"
    " {}"
)
_UDEV = "run/udev/data/"
_ZFS_MEMBER = "E:ID_FS_TYPE=zfs_member"
_BACKING_FILE = re.compile(r".*/loop/backing_file")
# What enabling looks for in a generated grub.cfg, which may hold passwords.
_GRUB = frozenset(
    {"blscfg", "configfile", "linux", "linux16", "linuxefi", "search"}
)
# Modules for which it matters whether they are built in.
_BUILT_IN = ("vfio", "xhci", "snd", "i2c", "typec")


def pseudonyms(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return what stands in a recording for the addresses of disks.

    By the IP address of each disk on a network, and the name of each Fibre
    Channel port of the host's.

    :param files: the host's, by path, before anything is redacted.
    """
    identities = dict.fromkeys(_identities(files))
    return {
        identity: _pseudonym(identity, number)
        for number, identity in enumerate(identities)
    }


def _identities(files: Mapping[str, bytes]) -> Iterator[str]:
    for path, data in files.items():
        value = decoded(data)
        if _ISCSI_ADDRESS.fullmatch(path) or _PORT_NAME.fullmatch(path):
            yield value
        elif _NVME_ADDRESS.fullmatch(path):
            yield network_disks.nvme_address(value).get("traddr", "")


def _pseudonym(identity: str, number: int) -> str:
    if identity.startswith("0x"):
        return f"0x{number:016x}"
    try:
        address = ipaddress.ip_address(identity)
    except ValueError:
        return "hidden"
    if address.is_loopback:
        return identity
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        return f"fe80::1%{address.scope_id}"
    first = _FIRST_IPV4 if address.version == 4 else _FIRST_IPV6
    return str(type(address)(first + number))


def trimmed(
    path: str,
    data: bytes,
    modaliases: Iterable[str],
    pseudonyms: Mapping[str, str] | None = None,
) -> bytes:
    """Return the lines of a file that discovery uses.

    Discovery finds the same in them as in the whole file.  A line that
    cannot be read is hidden, and cannot be read in the recording either.

    :param modaliases: of the functions whose modules are looked up.
    :param pseudonyms: for the addresses of disks on a network.
    """
    if path.endswith("/modules.alias"):
        return _module_aliases(data, modaliases)
    if path.startswith("sys/devices/") and path.endswith("/config"):
        return pci_config.reduced(data)
    text = decoded(data)
    if path.startswith(_UDEV):
        return _udev(text)
    trim = _BY_NAME.get(path.rpartition("/")[2])
    if trim is not None:
        return trim(text)
    kept = _without_addresses(path, text, pseudonyms or {})
    return data if kept is None else kept


def _without_addresses(
    path: str, text: str, pseudonyms: Mapping[str, str]
) -> bytes | None:
    """Return a file that has addresses with others in their place.

    None for any other file.
    """
    if path.endswith("/net/route"):
        return _ipv4_routes(text, pseudonyms)
    if path.endswith("/net/ipv6_route"):
        return _ipv6_routes(text, pseudonyms)
    if path == rtnetlink.PATH:
        return _next_hops(text, pseudonyms)
    address = _address(path, text, pseudonyms)
    return None if address is None else encoded(f"{address}\n")


def _built_in_modules(text: str) -> bytes:
    return _joined(
        line
        for line in text.split()
        if module_name(line).startswith(_BUILT_IN)
    )


def _vfio_modules(text: str) -> bytes:
    names = (line.partition(":")[0] for line in text.split("\n"))
    return _joined(f"{name}:" for name in names if "/vfio" in name)


def _menu(text: str) -> bytes:
    return _joined(
        line for line in text.split("\n") if _GRUB & {*line.split()[:1]}
    )


def _module_aliases(data: bytes, modaliases: Iterable[str]) -> bytes:
    lines = {
        line
        for modalias in set(modaliases)
        for line in modules_alias.matching(data, modalias)
    }
    return _joined(sorted(lines.union(modules_alias.vfio_lines(data))))


def _cpu(text: str) -> bytes:
    return _joined(facts.cpu_lines(encoded(text)))


def _udev(text: str) -> bytes:
    """Return which ZFS pool a disk is of: the rest has serial numbers."""
    lines = text.split("\n")
    if _ZFS_MEMBER not in lines:
        return b""
    labels = (line for line in lines if line.startswith("E:ID_FS_LABEL="))
    return _joined((_ZFS_MEMBER, *labels))


def _mounts(text: str) -> bytes:
    """Return block devices and the root, without options of no use."""
    return _joined(
        kept
        for line in filter(None, text.split("\n"))
        for kept in _mount(line)
    )


def _mount(line: str) -> tuple[str, ...]:
    try:
        mount = mountinfo.parse_line(line)
    except ValueError:
        return (HIDDEN,)
    if not mount.is_on_block_device and mount.point != "/":
        return ()
    before, _, after = line.partition(" - ")
    head = " ".join(before.split(" ")[:5])
    kind, name = after.split(" ")[:2]
    # Of a network file system the name is a server's.
    name = name if mount.is_on_block_device else "none"
    options = ",".join(("rw", *mount.devices))
    return (f"{head} rw - {kind} {name} {options}",)


def _address(
    path: str, value: str, pseudonyms: Mapping[str, str]
) -> str | None:
    """Return what stands for the contents of a file with an address.

    None for a file that has none.
    """
    if _ISCSI_ADDRESS.fullmatch(path) or _PORT_NAME.fullmatch(path):
        return pseudonyms.get(value, "hidden")
    if _NVME_ADDRESS.fullmatch(path):
        fields = network_disks.nvme_address(value)
        peer = pseudonyms.get(fields.get("traddr", ""), "hidden")
        port = network_disks.host_port(fields)
        kept = {
            "traddr": peer,
            "host_iface": fields.get("host_iface"),
            "host_traddr": port and f"pn-{pseudonyms.get(port, 'hidden')}",
        }
        return ",".join(f"{key}={text}" for key, text in kept.items() if text)
    if _BACKING_FILE.fullmatch(path):
        return value if value.startswith("/dev/") else "/hidden"
    return None


def _readable(
    lines: Iterable[str],
    parse: Callable[[str], Iterator[Route]],
    pseudonyms: Mapping[str, str],
) -> Iterator[Route | None]:
    """Yield the routes of each line; None for one that cannot be read."""
    for line in lines:
        try:
            table = tuple(parse(line))
            # It parses the destinations, which disks are looked up in.
            RouteIndex(table if pseudonyms else ())
        except ValueError:
            yield None
        else:
            yield from table


def _ipv4_routes(table: str, pseudonyms: Mapping[str, str]) -> bytes:
    """Return interfaces' routes without the addresses of networks."""
    lines = table.split("\n")
    hops = [*_readable(lines[1:], _ipv4_route, pseudonyms)]
    kept = [lines[0] if lines[0].startswith("Iface\t") else HIDDEN]
    for route in hops:
        if route is None:
            kept.append(HIDDEN)
            continue
        words = route.line.split()
        if not route.is_default:
            words[1], words[7] = _EXAMPLE_IPV4
        kept.append(_ipv4_line(words))
    for address, route in _hops_to_disks(hops, pseudonyms, 4):
        words = route.line.split()
        octets = bytes(map(int, address.split(".")))
        words[1], words[7] = octets[::-1].hex().upper(), "F" * 8
        kept.append(_ipv4_line(words))
    return _joined(dict.fromkeys(kept))


def _ipv4_route(line: str) -> Iterator[Route]:
    return routes.parse_ipv4(f"\n{line}")


def _ipv4_line(words: list[str]) -> str:
    return "\t".join([*words[:2], "0" * 8, *words[3:]])


def _ipv6_routes(table: str, pseudonyms: Mapping[str, str]) -> bytes:
    kept = []
    hops = [*_readable(table.split("\n"), routes.parse_ipv6, pseudonyms)]
    for route in hops:
        if route is None:
            kept.append(HIDDEN)
            continue
        words = route.line.split()
        if not route.is_default:
            words[:2] = _EXAMPLE_IPV6
        kept.append(_ipv6_line(words))
    for interface in routes.links_up(table):
        kept.append(_LINK_UP.format(interface))
    for address, route in _hops_to_disks(hops, pseudonyms, 6):
        digits = ipaddress.IPv6Address(address).packed.hex()
        kept.append(_ipv6_line([digits, "80", *route.line.split()[2:]]))
    return _joined(dict.fromkeys(kept))


def _ipv6_line(words: list[str]) -> str:
    return " ".join([*words[:4], "0" * 32, *words[5:]])


def _next_hops(text: str, pseudonyms: Mapping[str, str]) -> bytes:
    hops = [*_readable(text.split("\n"), routes.parse_next_hops, pseudonyms)]
    kept = []
    for route in hops:
        if route is None:
            kept.append(HIDDEN)
            continue
        family, destination, *rest = route.line.split(" ")
        if destination != "default":
            destination = _EXAMPLES[family]
        kept.append(" ".join((family, destination, *rest)))
    for version, family, length in ((4, "inet", 32), (6, "inet6", 128)):
        for address, route in _hops_to_disks(hops, pseudonyms, version):
            rest = route.line.split(" ")[2:]
            kept.append(" ".join((family, f"{address}/{length}", *rest)))
    return _joined(dict.fromkeys(kept))


def _hops_to_disks(
    hops: Iterable[Route | None], pseudonyms: Mapping[str, str], version: int
) -> Iterator[tuple[str, Route]]:
    """Yield each disk's address in the recording, and a next hop to it.

    What a default route leads to, it leads to in the recording as well.
    """
    readable = (hop for hop in hops if hop is not None)
    index = RouteIndex(readable if pseudonyms else ())
    for address, pseudonym in pseudonyms.items():
        is_ipv6 = ":" in pseudonym
        is_ip = is_ipv6 or "." in pseudonym
        if not is_ip or is_ipv6 != (version == 6):
            continue
        for hop in index.towards(address):
            if not hop.destination.endswith("/0"):
                yield pseudonym, hop


def _joined(lines: Iterable[str]) -> bytes:
    return encoded("".join(f"{line}\n" for line in lines))


_BY_NAME: Mapping[str, Callable[[str], bytes]] = {
    "cpuinfo": _cpu,
    "grub.cfg": _menu,
    "modules.builtin": _built_in_modules,
    "modules.dep": _vfio_modules,
    "mountinfo": _mounts,
}
