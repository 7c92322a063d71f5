"""Which lines of a file a recording keeps: those that discovery uses.

The rest names machines, networks or people, or is large and not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin.discovery import facts
from gpu_passthrough_plugin.discovery.hypervisor import CPUINFO
from gpu_passthrough_plugin.discovery.modules import module_name
from gpu_passthrough_plugin.formats import modules_alias, mountinfo, routes
from gpu_passthrough_plugin.model.reading import decoded, encoded

# In place of a network's address: 192.0.2.0/24 and 2001:db8::/32.
# Source: RFC 5737, RFC 3849.
_EXAMPLE_IPV4 = ("000200C0", "00FFFFFF")
_EXAMPLE_IPV6 = ("20010db8" + "0" * 24, "20")
# What enabling looks for in a generated grub.cfg, which may hold passwords.
_GRUB = frozenset(
    {"blscfg", "configfile", "linux", "linux16", "linuxefi", "search"}
)
# Modules for which it matters whether they are built in.
_BUILT_IN = ("vfio", "xhci", "snd", "i2c", "typec")


def redacted(path: str, data: bytes, modaliases: Iterable[str]) -> bytes:
    """Return the lines of a file that discovery uses.

    Discovery finds the same in them as in the whole file.  A file that
    cannot be parsed, or of which everything is used, is returned whole.

    :param modaliases: of the functions whose modules are looked up.
    """
    text = decoded(data)
    lines = text.split("\n")
    if path.endswith("/modules.alias"):
        return _module_aliases(data, modaliases)
    if path.endswith("/modules.builtin"):
        return _joined(
            line
            for line in text.split()
            if module_name(line).startswith(_BUILT_IN)
        )
    if path.endswith("/modules.dep"):
        names = (line.partition(":")[0] for line in lines)
        return _joined(f"{name}:" for name in names if "/vfio" in name)
    if path.endswith("/grub.cfg"):
        return _joined(line for line in lines if _GRUB & {*line.split()[:1]})
    if path == CPUINFO:
        used = facts.cpu_lines(data)
        return _joined(used) if used else data
    try:
        if path.endswith("/mountinfo"):
            return _mounts(lines)
        if path.endswith("/net/route"):
            return _ipv4_routes(text)
        if path.endswith("/net/ipv6_route"):
            return _ipv6_routes(text)
    except ValueError:
        pass
    return data


def _module_aliases(data: bytes, modaliases: Iterable[str]) -> bytes:
    lines = {
        line
        for modalias in set(modaliases)
        for line in modules_alias.matching(data, modalias)
    }
    return _joined(sorted(lines.union(modules_alias.vfio_lines(data))))


def _mounts(lines: Iterable[str]) -> bytes:
    """Return block devices and the root, without their options."""
    kept = []
    for line in filter(None, lines):
        mount = mountinfo.parse_line(line)
        if not mount.is_on_block_device and mount.point != "/":
            continue
        before, _, after = line.partition(" - ")
        head = " ".join(before.split(" ")[:5])
        kind, name = after.split(" ")[:2]
        # Of a network file system the name is a server's.
        name = name if mount.is_on_block_device else "none"
        kept.append(f"{head} rw - {kind} {name} rw")
    return _joined(kept)


def _ipv4_routes(table: str) -> bytes:
    """Return interfaces' routes without the addresses of networks."""
    kept = [table.split("\n")[0]]
    for route in routes.parse_ipv4(table):
        words = route.line.split()
        if not route.is_default:
            words[1], words[7] = _EXAMPLE_IPV4
        kept.append("\t".join([*words[:2], "0" * 8, *words[3:]]))
    return _joined(dict.fromkeys(kept))


def _ipv6_routes(table: str) -> bytes:
    kept = []
    for route in routes.parse_ipv6(table):
        words = route.line.split()
        if not route.is_default:
            words[:2] = _EXAMPLE_IPV6
        kept.append(" ".join([*words[:4], "0" * 32, *words[5:]]))
    return _joined(dict.fromkeys(kept))


def _joined(lines: Iterable[str]) -> bytes:
    return encoded("".join(f"{line}\n" for line in lines))
